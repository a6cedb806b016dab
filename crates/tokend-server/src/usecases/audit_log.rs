//! ListAuditEvents and WatchAuditEvents.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokend_core::{
    audit::{Chain, Record},
    caller::{Caller, Role},
    filter::EventFilter,
};
use tokend_store::RecordPage;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    auth::{Authenticated, CallContext},
    error::ServiceError,
};

/// The time between two polls for new events. Each poll also checks the watcher, and is two statements by key.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The most events that one poll reads.
const POLL_LIMIT: u64 = 100;

/// Refuses a chain that the caller may not see. Validation refuses invalid names later.
pub(crate) fn authorize_chain(caller: &Caller, parent: &str) -> Result<(), ServiceError> {
    match caller.role {
        Role::WorkspaceAdmin | Role::Revoker if parent == Chain::INSTALLATION => Err(ServiceError::RoleNotAllowed {
            caller: caller.id.name(),
            method: "the installation's audit log".to_owned(),
        }),
        _ => crate::auth::authorize_workspace(caller, parent),
    }
}

/// Restricts the filter to the events that the caller may see: a REVOKER sees events of tokens only.
pub(crate) fn visible_events(caller: &Caller, asked: Option<EventFilter>) -> Option<EventFilter> {
    if caller.role == Role::Revoker {
        Some(EventFilter::of_tokens(asked))
    } else {
        asked
    }
}

/// Returns a page of a chain, newest first: all of its events, or those that match `filter`.
pub(crate) async fn list(
    context: &Context,
    chain: &Chain,
    filter: Option<EventFilter>,
    before: Option<u64>,
    limit: u16,
) -> Result<RecordPage, ServiceError> {
    check_exists(context, chain).await?;
    Ok(match filter {
        None => context.store.list_audit(chain, before, limit.into()).await?,
        Some(filter) => {
            context
                .store
                .filtered_audit(chain, filter, before, limit.into())
                .await?
        }
    })
}

/// Follows a chain for one client.
pub(crate) struct Watcher {
    context: Arc<Context>,
    caller: Authenticated,
    chain: Chain,
    /// The sequence number of the last event that was returned.
    after: u64,
    read: VecDeque<Record>,
    stop: CancellationToken,
}

impl Watcher {
    /// Starts after the event `after`. The watch ends with `stop`.
    ///
    /// # Errors
    /// [`ServiceError::AuditPositionGone`] if events after `after` are no longer kept, or `after` does not exist yet.
    pub(crate) async fn start(
        context: &Arc<Context>,
        call: &CallContext,
        (chain, after): (Chain, u64),
        stop: CancellationToken,
    ) -> Result<Self, ServiceError> {
        check_exists(context, &chain).await?;
        let (oldest, last) = match context.store.audit_head(&chain).await? {
            Some(head) => (head.base_sequence, head.sequence),
            None => (0, 0),
        };
        let after = if after == 0 { oldest } else { after };
        if !(oldest..=last).contains(&after) {
            return Err(ServiceError::AuditPositionGone {
                after,
                oldest: oldest + 1,
                last,
            });
        }
        Ok(Self {
            context: Arc::clone(context),
            caller: call.authenticated(),
            chain,
            after,
            read: VecDeque::new(),
            stop,
        })
    }

    /// Waits for the next event and returns it, or `None` when the server stops.
    ///
    /// # Errors
    /// [`ServiceError::InvalidCredential`] once the caller is no longer served; [`ServiceError::Storage`].
    pub(crate) async fn next(&mut self) -> Result<Option<Record>, ServiceError> {
        let stop = self.stop.clone();
        // Events that were read already are returned before the watch ends.
        if self.read.is_empty()
            && stop
                .run_until_cancelled(self.poll_until_read())
                .await
                .transpose()?
                .is_none()
        {
            return Ok(None);
        }
        let Some(record) = self.read.pop_front() else {
            return Ok(None);
        };
        self.after = record.place.sequence;
        Ok(Some(record))
    }

    async fn poll_until_read(&mut self) -> Result<(), ServiceError> {
        loop {
            self.check_caller().await?;
            let read = self
                .context
                .store
                .audit_after(&self.chain, self.after, POLL_LIMIT)
                .await?;
            if let Some(first) = read.first() {
                let next = first.place.sequence;
                if next != self.after + 1 {
                    // Retention has deleted events that the watcher has not read.
                    return Err(ServiceError::AuditPositionGone {
                        after: self.after,
                        oldest: next,
                        last: next,
                    });
                }
                self.read = read.into();
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn check_caller(&self) -> Result<(), ServiceError> {
        let store = &self.context.store;
        match self
            .caller
            .check(&store.current_caller(&self.caller.reference()).await?)
        {
            Ok(()) => Ok(()),
            Err(invalidated) => Err(invalidated.into_error(store).await),
        }
    }
}

/// Refuses the chain of a workspace that does not exist.
async fn check_exists(context: &Context, chain: &Chain) -> Result<(), ServiceError> {
    match chain {
        Chain::Installation => Ok(()),
        // This read does not count the workspace's tokens.
        Chain::Workspace(id) => match context.store.workspace_with_policy(id).await? {
            Some(_) => Ok(()),
            None => Err(ServiceError::WorkspaceNotFound(id.clone())),
        },
    }
}

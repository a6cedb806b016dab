//! Reading and following the audit log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokend_core::{
    audit::{Chain, Record},
    caller::{Caller, Role},
    filter::EventFilter,
};
use tokend_store::RecordPage;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{access::Authenticated, refusal::Refusal};

/// Time between looks for new events, and at whether the watcher may still see them. A look is two statements by key.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Most events that one look reads.
const AT_ONCE: u64 = 100;

/// Refuses a chain that the caller may not see. What is no name is left to validation.
pub(crate) fn sees_chain(caller: &Caller, parent: &str) -> Result<(), Refusal> {
    match caller.role {
        Role::WorkspaceAdmin | Role::Revoker if parent == Chain::INSTALLATION => {
            Err(Refusal::RoleNotAllowed { caller: caller.id.name(), method: "the installation's audit log".to_owned() })
        }
        _ => crate::access::sees_workspace(caller, parent),
    }
}

/// The events of a list that the caller may see, among those that it asks for. A REVOKER sees events of tokens, no others.
pub(crate) fn visible_events(caller: &Caller, asked: Option<EventFilter>) -> Option<EventFilter> {
    if caller.role == Role::Revoker { Some(EventFilter::of_tokens(asked)) } else { asked }
}

/// A page of a chain, newest first: all of its events, or those that `filter` is true of.
pub(crate) async fn list(
    context: &Context,
    chain: &Chain,
    filter: Option<EventFilter>,
    before: Option<u64>,
    limit: u16,
) -> Result<RecordPage, Refusal> {
    exists(context, chain).await?;
    Ok(match filter {
        None => context.store.list_audit(chain, before, limit.into()).await?,
        Some(filter) => context.store.filtered_audit(chain, filter, before, limit.into()).await?,
    })
}

/// One who follows a chain.
pub(crate) struct Watcher {
    context: Arc<Context>,
    caller: Authenticated,
    chain: Chain,
    /// The last event that was told.
    after: u64,
    read: VecDeque<Record>,
    stop: CancellationToken,
}

impl Watcher {
    /// Starts behind `after`, until `stop`.
    ///
    /// # Errors
    /// [`Refusal::AuditPositionGone`] if what follows `after` is not all there, or `after` itself not yet.
    pub(crate) async fn start(
        context: &Arc<Context>,
        caller: Authenticated,
        (chain, after): (Chain, u64),
        stop: CancellationToken,
    ) -> Result<Self, Refusal> {
        exists(context, &chain).await?;
        let (oldest, last) = match context.store.audit_head(&chain).await? {
            Some(head) => (head.base_sequence, head.sequence),
            None => (0, 0),
        };
        let after = if after == 0 { oldest } else { after };
        if !(oldest..=last).contains(&after) {
            return Err(Refusal::AuditPositionGone { after, oldest: oldest + 1, last });
        }
        Ok(Self { context: Arc::clone(context), caller, chain, after, read: VecDeque::new(), stop })
    }

    /// The next event, as soon as there is one; none when the server stops.
    ///
    /// # Errors
    /// [`Refusal::InvalidCredential`] once the caller's key has ended or the caller is gone; the store's.
    pub(crate) async fn next(&mut self) -> Result<Option<Record>, Refusal> {
        let stop = self.stop.clone();
        // Told before the end: what was read already.
        if self.read.is_empty() && stop.run_until_cancelled(self.wait()).await.transpose()?.is_none() {
            return Ok(None);
        }
        let Some(record) = self.read.pop_front() else { return Ok(None) };
        self.after = record.place.sequence;
        Ok(Some(record))
    }

    async fn wait(&mut self) -> Result<(), Refusal> {
        loop {
            self.may_still_watch().await?;
            let read = self.context.store.audit_after(&self.chain, self.after, AT_ONCE).await?;
            if let Some(first) = read.first() {
                let next = first.place.sequence;
                if next != self.after + 1 {
                    // Retention was faster than the watcher.
                    return Err(Refusal::AuditPositionGone { after: self.after, oldest: next, last: next });
                }
                self.read = read.into();
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn may_still_watch(&self) -> Result<(), Refusal> {
        let store = &self.context.store;
        match self.caller.check(&store.known_caller(&self.caller.reference()).await?) {
            Ok(()) => Ok(()),
            Err(ended) => Err(ended.refusal(store).await),
        }
    }
}

/// Refuses the chain of a workspace that there is not.
async fn exists(context: &Context, chain: &Chain) -> Result<(), Refusal> {
    match chain {
        Chain::Installation => Ok(()),
        // Without counting its tokens: who follows a chain asks often.
        Chain::Workspace(id) => match context.store.governed_workspace(id).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::WorkspaceNotFound(id.clone())),
        },
    }
}

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokend_proto::{
    request::audit_log::{ListAuditEvents, WatchAuditEvents},
    v1,
    view::audit_event_message,
};
use tokend_store::RecordPage;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    auth::CallContext,
    error::ServiceError,
    grpc::call::authenticated,
    grpc::paging::{List, fit},
    usecases::{
        Context,
        audit_log::{self, Watcher, authorize_chain, visible_events},
    },
};

/// Lists and streams audit events.
#[derive(Debug)]
pub(crate) struct AuditLogService {
    pub(crate) context: Arc<Context>,
    /// Ends watches.
    pub(crate) stop: CancellationToken,
}

#[async_trait]
impl v1::audit_log_server::AuditLog for AuditLogService {
    type WatchAuditEventsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchAuditEventsResponse, Status>> + Send>>;

    async fn list_audit_events(
        &self,
        request: Request<v1::ListAuditEventsRequest>,
    ) -> Result<Response<v1::ListAuditEventsResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        authorize_chain(&caller, &message.parent)?;
        let ListAuditEvents { chain, filter, page } =
            ListAuditEvents::from_message(message).map_err(ServiceError::from)?;
        let filter = visible_events(&caller, filter);
        let (parent, asked) = (
            chain.parent(),
            filter.as_ref().map(ToString::to_string).unwrap_or_default(),
        );
        let keys = self.context.store.keys();
        let list = List {
            ring: &keys,
            caller: &caller,
            rpc: "ListAuditEvents",
            parent: &parent,
            filter: &asked,
        };
        let before = list.position(&page, sequence_position).map_err(ServiceError::from)?;
        let RecordPage { records, next } = audit_log::list(&self.context, &chain, filter, before, page.size).await?;
        // The store has logged records that can't be read. They do not keep others from being listed.
        let (events, was_cut) = fit(records.into_iter().flatten().map(audit_event_message));
        let last = events
            .last()
            .filter(|_| was_cut)
            .map(|last| last.sequence.cast_unsigned());
        let next_page_token =
            list.next_page_token(last.or(next).map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        Ok(Response::new(v1::ListAuditEventsResponse {
            events,
            next_page_token,
        }))
    }

    async fn watch_audit_events(
        &self,
        request: Request<v1::WatchAuditEventsRequest>,
    ) -> Result<Response<Self::WatchAuditEventsStream>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_chain(&call.caller, &message.parent)?;
        let WatchAuditEvents { chain, after } = WatchAuditEvents::from_message(&message).map_err(ServiceError::from)?;
        let watcher = Watcher::start(&self.context, &call, (chain, after), self.stop.clone()).await?;
        let events = stream::try_unfold(watcher, |mut watcher| async {
            let record = watcher.next().await?;
            let response = |record| v1::WatchAuditEventsResponse {
                event: Some(audit_event_message(record)),
            };
            Ok(record.map(|record| (response(record), watcher)))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// Returns the position in a list that is ordered by sequence numbers, newest first: the last number.
fn sequence_position(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

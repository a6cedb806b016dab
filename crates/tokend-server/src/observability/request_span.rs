//! The span of a request: what a log at `debug` shows of it. It never holds arguments or secrets.
//!
//! The outermost layer opens the span and fills in the outcome. The caller and the workspace are recorded where they
//! become known. If the log is not at `debug`, the span is disabled, and all of this does nothing.

use tokend_core::{
    audit::known_name_prefix,
    name::{CallerId, TokenName, WorkspaceId},
};
use tracing::{Span, field::Empty};

use super::request_id::RequestId;
use crate::operation::Operation;

/// Opens the span of a request. A request to an unknown method has no operation.
pub(crate) fn open(id: RequestId, operation: Option<Operation>) -> Span {
    tracing::debug_span!(
        "request",
        request_id = %id,
        operation = operation.map_or("unknown", Operation::name),
        caller = Empty,
        workspace = Empty,
        code = Empty,
        reason = Empty,
        fault = Empty,
        duration_us = Empty,
    )
}

/// Records who makes the current request.
pub(crate) fn record_caller(caller: &CallerId) {
    Span::current().record("caller", caller.as_str());
}

/// Records the id of the fault that the current request met: the log has the fault under it, and its client gets it.
pub(crate) fn record_fault(id: &str) {
    Span::current().record("fault", id);
}

/// Records the workspace that the current request is about.
pub(crate) fn record_workspace(workspace: &WorkspaceId) {
    Span::current().record("workspace", workspace.as_str());
}

/// Records the workspace that a resource name from the current request's message lies in, if it lies in one. Any other
/// text is not recorded.
pub(crate) fn record_workspace_of(name: &str) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let name = known_name_prefix(name);
    let workspace = name
        .parse::<TokenName>()
        .map(|name| name.workspace)
        .or_else(|_| WorkspaceId::from_name(name));
    if let Ok(workspace) = workspace {
        span.record("workspace", workspace.as_str());
    }
}

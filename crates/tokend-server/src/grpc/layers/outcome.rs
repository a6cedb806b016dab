//! How a call ended, as its response's headers or its stream's trailers say.

use http::{HeaderMap, HeaderName};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Returns the code. A failure is in the headers ("Trailers-Only" in gRPC over HTTP/2); a success is only confirmed
/// after the message, so that headers without a code mean a success.
pub(super) fn code(headers: &HeaderMap) -> Code {
    headers
        .get(GRPC_STATUS)
        .map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// Returns the name of the `ErrorReason`, which is empty if the call did not fail.
pub(super) fn reason(headers: &HeaderMap) -> String {
    let details = Status::from_header_map(headers).map(|status| status.get_error_details());
    details
        .and_then(|details| details.error_info().map(|info| info.reason.clone()))
        .unwrap_or_default()
}

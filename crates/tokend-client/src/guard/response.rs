//! The response to a request that is denied: a gRPC status, or an HTTP status with the headers of RFC 6750.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Denied, DeniedKind};

/// Returns whether the client speaks gRPC or gRPC-Web, so that it expects a status in gRPC's headers.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

impl Denied {
    /// Returns the status for a client that speaks gRPC.
    #[must_use]
    pub fn to_grpc_status(&self) -> Status {
        let mut details = ErrorDetails::new();
        // Where the token decides, the reason is that of tokend.
        details.set_error_info(self.kind().as_str().to_uppercase(), tokend_proto::ERROR_DOMAIN, []);
        if let Self::Unavailable { retry_after, .. } = self {
            details.set_retry_info(Some(*retry_after));
        }
        let message = match self {
            Self::ByVerdict { missing_scopes, .. } if !missing_scopes.is_empty() => {
                format!("{}: {}", self.public_message(), missing_scopes.join(" "))
            }
            _ => self.public_message().to_owned(),
        };
        Status::with_error_details(self.code(), message, details)
    }

    fn code(&self) -> Code {
        match self.http_status() {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Internal,
        }
    }

    /// Returns the status for a client that speaks HTTP: 401 if another token may help, 403 if this one does not
    /// suffice, 503 in an outage, and 500 if this service is misconfigured.
    #[must_use]
    pub const fn http_status(&self) -> StatusCode {
        match self.kind() {
            DeniedKind::MissingToken
            | DeniedKind::MalformedAuthorization
            | DeniedKind::Unrecognized
            | DeniedKind::Revoked
            | DeniedKind::Expired
            | DeniedKind::WorkspaceSuspended
            | DeniedKind::WorkspaceDeleted => StatusCode::UNAUTHORIZED,
            DeniedKind::UnmappedRoute
            | DeniedKind::MalformedResource
            | DeniedKind::ResourceNotCovered
            | DeniedKind::InsufficientScope
            | DeniedKind::AddressNotAllowed
            | DeniedKind::OtherVerdict => StatusCode::FORBIDDEN,
            DeniedKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            DeniedKind::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the value of `WWW-Authenticate` (RFC 6750 section 3), if a token decides.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let challenge = "Bearer realm=\"tokend\"";
        let challenge = match self.kind() {
            // A request without a token gets no error code.
            DeniedKind::MissingToken => challenge.to_owned(),
            DeniedKind::MalformedAuthorization
            | DeniedKind::Unrecognized
            | DeniedKind::Revoked
            | DeniedKind::Expired
            | DeniedKind::WorkspaceSuspended
            | DeniedKind::WorkspaceDeleted => self.with_error(challenge, "invalid_token"),
            DeniedKind::ResourceNotCovered | DeniedKind::AddressNotAllowed | DeniedKind::OtherVerdict => {
                self.with_error(challenge, "insufficient_scope")
            }
            DeniedKind::InsufficientScope => {
                let challenge = self.with_error(challenge, "insufficient_scope");
                format!("{challenge}, scope=\"{}\"", self.scopes())
            }
            DeniedKind::UnmappedRoute
            | DeniedKind::MalformedResource
            | DeniedKind::Unavailable
            | DeniedKind::Misconfigured => return None,
        };
        HeaderValue::try_from(challenge).ok()
    }

    fn with_error(&self, challenge: &str, error: &str) -> String {
        // A description may have neither quotes nor backslashes; a backquote is fine.
        let description = self.public_message();
        format!("{challenge}, error=\"{error}\", error_description=\"{description}\"")
    }

    /// Returns the required scopes, separated by spaces, as far as a header can have them.
    fn scopes(&self) -> String {
        let Self::ByVerdict { required_scopes, .. } = self else {
            return String::new();
        };
        let is_allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let allowed = required_scopes.iter().filter(|scope| scope.bytes().all(is_allowed));
        allowed.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Returns the response for a client that speaks gRPC or HTTP. It has no body.
    pub(super) fn to_response<B: Default>(&self, is_grpc: bool) -> Response<B> {
        if is_grpc {
            return self.to_grpc_status().into_http();
        }
        let mut response = Response::new(B::default());
        *response.status_mut() = self.http_status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.www_authenticate() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::Unavailable { retry_after, .. } = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*retry_after)));
        }
        response
    }
}

/// Returns the seconds, rounded up, and at least one.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use crate::v1::DenyReason;

    use super::*;

    fn verdict(reason: DenyReason) -> Denied {
        Denied::ByVerdict {
            reason,
            token: None,
            required_scopes: vec![
                "repository:write".to_owned(),
                "not \"quoted".to_owned(),
                "webhook".to_owned(),
            ],
            missing_scopes: Vec::new(),
        }
    }

    fn http(denied: &Denied) -> (u16, Option<String>) {
        let response: Response<()> = denied.to_response(false);
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge.map(|challenge| challenge.to_str().expect("text").to_owned());
        (response.status().as_u16(), challenge)
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let challenge = |rest: &str| Some(format!("Bearer realm=\"tokend\"{rest}"));
        assert_eq!(http(&Denied::MissingToken), (401, challenge("")));
        assert_eq!(
            http(&verdict(DenyReason::Revoked)),
            (
                401,
                challenge(", error=\"invalid_token\", error_description=\"the token was revoked\"")
            )
        );
        assert_eq!(
            http(&verdict(DenyReason::InsufficientScope)),
            (
                403,
                challenge(
                    ", error=\"insufficient_scope\", error_description=\"the token lacks a required scope\", \
                     scope=\"repository:write webhook\""
                )
            )
        );
        assert_eq!(
            http(&verdict(DenyReason::ResourceNotCovered)),
            (
                403,
                challenge(", error=\"insufficient_scope\", error_description=\"the token is not for this resource\"")
            )
        );
        assert_eq!(http(&Denied::UnmappedRoute), (403, None));
    }

    #[test]
    fn descriptions_can_be_quoted() {
        for reason in 0..=8 {
            let reason = DenyReason::try_from(reason).expect("a reason");
            let message = verdict(reason).public_message();
            assert!(!message.contains(['"', '\\']) && message.is_ascii(), "{message}");
        }
    }

    #[test]
    fn an_outage_says_when_to_try_again() {
        let outage = Denied::Unavailable {
            retry_after: Duration::from_millis(1_200),
            cause: "connection refused at 10.0.0.7".to_owned(),
        };
        let response: Response<()> = outage.to_response(false);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let status = outage.to_grpc_status();
        assert_eq!(status.code(), Code::Unavailable);
        let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(delay, Some(Duration::from_millis(1_200)));
        assert!(!status.message().contains("10.0.0.7"), "{}", status.message());
    }

    #[test]
    fn grpc_gets_the_status_in_its_headers() {
        for (denied, code) in [
            (Denied::MissingToken, Code::Unauthenticated),
            (verdict(DenyReason::Expired), Code::Unauthenticated),
            (verdict(DenyReason::InsufficientScope), Code::PermissionDenied),
            (verdict(DenyReason::Unspecified), Code::PermissionDenied),
            (Denied::UnmappedRoute, Code::PermissionDenied),
        ] {
            let response: Response<()> = denied.to_response(true);
            assert_eq!(response.status(), 200);
            let status = Status::from_header_map(response.headers()).expect("a status");
            assert_eq!(status.code(), code, "{denied}");
        }
        let mut headers = HeaderMap::new();
        assert!(!is_grpc(&headers));
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", true),
            ("application/json", false),
        ] {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), expected, "{content_type}");
        }
    }
}

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, TokenPolicy, VerifyRequest, create_token_request::Expiry, token_policy::ExistingTokens,
};

/// Returns a request for an ordinary token of the workspace: `repository:write`, for an hour.
#[must_use]
pub fn token_in(workspace: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        parent: workspace.to_owned(),
        display_name: "ci".to_owned(),
        scopes: vec!["repository:write".to_owned()],
        expiry: after(Duration::from_secs(3_600)),
        ..Default::default()
    }
}

/// Returns the expiry of a token that lives for `span`.
///
/// # Panics
/// If a protobuf duration can't hold the span.
#[must_use]
pub fn after(span: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(span.try_into().expect("the span is a valid duration")))
}

/// Returns a request to limit the lifetime of an organization's or workspace's tokens to `max`, with or without its
/// existing tokens.
///
/// # Panics
/// If a protobuf duration can't hold the span.
#[must_use]
pub fn max_lifetime(owner: &str, max: Duration, existing_tokens: ExistingTokens) -> TokenPolicy {
    TokenPolicy {
        name: format!("{owner}/tokenPolicy"),
        max_lifetime: Some(max.try_into().expect("the span is a valid duration")),
        existing_tokens: existing_tokens.into(),
        ..Default::default()
    }
}

/// Returns the question whether a token has `scopes` on `resource`.
#[must_use]
pub fn question(secret: &str, resource: &str, scopes: &[&str]) -> VerifyRequest {
    VerifyRequest {
        token: secret.to_owned(),
        resource: resource.to_owned(),
        required_scopes: scopes.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

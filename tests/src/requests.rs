use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, TokenPolicy, VerifyRequest, create_token_request::Expiry, token_policy::ExistingTokens,
};

/// Asks for an ordinary token of the workspace: `repository:write`, for an hour.
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

/// The choice of an end that lies `span` ahead.
///
/// # Panics
/// For a span that no protobuf duration holds.
#[must_use]
pub fn after(span: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(span.try_into().expect("a span that the contract knows")))
}

/// A policy of an organization or workspace by which tokens live `max` at most; applied to those that there are, or not.
///
/// # Panics
/// For a span that no protobuf duration holds.
#[must_use]
pub fn max_lifetime(owner: &str, max: Duration, existing_tokens: ExistingTokens) -> TokenPolicy {
    TokenPolicy {
        name: format!("{owner}/tokenPolicy"),
        max_lifetime: Some(max.try_into().expect("a span that the contract knows")),
        existing_tokens: existing_tokens.into(),
        ..Default::default()
    }
}

/// Asks whether a token may do what needs `scopes` to `resource`.
#[must_use]
pub fn question(secret: &str, resource: &str, scopes: &[&str]) -> VerifyRequest {
    VerifyRequest {
        token: secret.to_owned(),
        resource: resource.to_owned(),
        required_scopes: scopes.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

//! The demonstration: seeds the installation, then creates, verifies, revokes, and verifies a token again, over gRPC.

use std::time::Duration;

use tokend_client::{Client, v1};
use tokend_core::{credential::Secret, time::Clock};

use crate::{command_error::CommandError, stdout::print_whole};

/// The name of the seeded workspace.
pub(super) const WORKSPACE: &str = "workspaces/acme";
const VERIFIER: &str = "callers/verifier";

const RESOURCE: &str = "workspaces/acme/repositories/site";
const SCOPE: &str = "repository:write";
const TTL_SECONDS: i64 = 30 * 24 * 60 * 60;

/// The seeded callers.
pub(super) struct Seeded {
    pub(super) verifier_key: Secret,
}

/// Creates the workspace, and a caller that may verify tokens.
pub(super) async fn seed(admin: &Client) -> Result<Seeded, CommandError> {
    let workspace = v1::CreateWorkspaceRequest {
        workspace_id: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        ..Default::default()
    };
    admin.workspace_admin().create_workspace(workspace).await?;
    let verifier = v1::CreateCallerRequest {
        caller_id: "verifier".to_owned(),
        role: v1::Role::Verifier.into(),
        workspaces: Some(v1::Selection {
            all: true,
            only: Vec::new(),
        }),
        ..Default::default()
    };
    admin.caller_admin().create_caller(verifier).await?;
    let key = v1::CreateCallerKeyRequest {
        parent: VERIFIER.to_owned(),
        ttl: None,
    };
    let key = admin.caller_admin().create_caller_key(key).await?.into_inner();
    Ok(Seeded {
        verifier_key: Secret::new(key.secret),
    })
}

/// Runs the demonstration, and prints each step with the duration of its call.
///
/// # Errors
/// A call fails, or a verdict is not the expected one.
pub(super) async fn show(admin: &Client, verifier: &Client, clock: &Clock) -> Result<(), CommandError> {
    let start = clock.boot_time();
    let v1::CreateTokenResponse { token, secret } = admin.token_admin().create_token(token()).await?.into_inner();
    let (name, secret) = (token.map(|token| token.name).unwrap_or_default(), Secret::new(secret));
    step(
        "create",
        &format!("{name} with {SCOPE}, for 30 days"),
        clock.boot_time().saturating_since(start),
    )?;

    let allowed = verify(verifier, clock, &secret).await?;
    if allowed.decision() != v1::Decision::Allow {
        return Err(CommandError::Other("the new token was denied".to_owned()));
    }

    let start = clock.boot_time();
    let revoke = v1::RevokeTokenRequest {
        name: name.clone(),
        reason: "the demonstration is over".to_owned(),
        no_wait: false,
    };
    admin.token_admin().revoke_token(revoke).await?;
    step("revoke", &name, clock.boot_time().saturating_since(start))?;

    let denied = verify(verifier, clock, &secret).await?;
    if denied.deny_reason() != v1::DenyReason::Revoked {
        return Err(CommandError::Other("the revoked token was not denied".to_owned()));
    }
    print_whole("\n")
}

fn token() -> v1::CreateTokenRequest {
    let ttl = prost_types::Duration {
        seconds: TTL_SECONDS,
        nanos: 0,
    };
    v1::CreateTokenRequest {
        parent: WORKSPACE.to_owned(),
        display_name: "demo".to_owned(),
        scopes: vec![SCOPE.to_owned()],
        expiry: Some(v1::create_token_request::Expiry::Ttl(ttl)),
        ..Default::default()
    }
}

async fn verify(verifier: &Client, clock: &Clock, secret: &Secret) -> Result<v1::VerifyResponse, CommandError> {
    let request = v1::VerifyRequest {
        token: secret.expose().to_owned(),
        resource: RESOURCE.to_owned(),
        required_scopes: vec![SCOPE.to_owned()],
        ..Default::default()
    };
    let start = clock.boot_time();
    let verdict = verifier.token_verify().verify(request).await?.into_inner();
    let took = clock.boot_time().saturating_since(start);
    let answer = match verdict.decision() {
        v1::Decision::Deny => format!(
            "DENY {}",
            verdict.deny_reason().as_str_name().trim_start_matches("DENY_REASON_")
        ),
        decision => decision.as_str_name().trim_start_matches("DECISION_").to_owned(),
    };
    step("verify", &format!("{answer}: {SCOPE} on {RESOURCE}"), took)?;
    Ok(verdict)
}

fn step(verb: &str, what: &str, took: Duration) -> Result<(), CommandError> {
    print_whole(&format!("  {verb}  {:>7.2} ms  {what}\n", took.as_secs_f64() * 1_000.0))
}

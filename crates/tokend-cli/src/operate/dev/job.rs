//! The main job: issue a token, verify it, revoke it, verify it again, over real gRPC.

use std::time::Duration;

use tokend_client::{Client, v1};
use tokend_core::{clock::Clock, credential::Secret};

use super::seed::WORKSPACE;
use crate::{failure::Failure, stdout::print_whole};

const RESOURCE: &str = "workspaces/acme/repositories/site";
const SCOPE: &str = "repository:write";
const TTL_SECONDS: i64 = 30 * 24 * 60 * 60;

/// Does the job and shows each step with the time that its call took. Fails if a verdict is not the one it must be.
pub(super) async fn show(admin: &Client, verifier: &Client, clock: &Clock) -> Result<(), Failure> {
    let start = clock.boot_time();
    let v1::CreateTokenResponse { token, secret } = admin.token_admin().create_token(token()).await?.into_inner();
    let (name, secret) = (token.map(|token| token.name).unwrap_or_default(), Secret::new(secret));
    step("create", &format!("{name} with {SCOPE}, for 30 days"), clock.boot_time().saturating_since(start))?;

    let allowed = verify(verifier, clock, &secret).await?;
    if allowed.decision() != v1::Decision::Allow {
        return Err(Failure::Other("the new token was not allowed".to_owned()));
    }

    let start = clock.boot_time();
    let revoke = v1::RevokeTokenRequest { name: name.clone(), reason: "the tour is over".to_owned(), no_wait: false };
    admin.token_admin().revoke_token(revoke).await?;
    step("revoke", &name, clock.boot_time().saturating_since(start))?;

    let denied = verify(verifier, clock, &secret).await?;
    if denied.deny_reason() != v1::DenyReason::Revoked {
        return Err(Failure::Other("the revoked token was not denied".to_owned()));
    }
    print_whole("\n")
}

fn token() -> v1::CreateTokenRequest {
    let ttl = prost_types::Duration { seconds: TTL_SECONDS, nanos: 0 };
    v1::CreateTokenRequest {
        parent: WORKSPACE.to_owned(),
        display_name: "tour".to_owned(),
        scopes: vec![SCOPE.to_owned()],
        expiry: Some(v1::create_token_request::Expiry::Ttl(ttl)),
        ..Default::default()
    }
}

async fn verify(verifier: &Client, clock: &Clock, secret: &Secret) -> Result<v1::VerifyResponse, Failure> {
    let question = v1::VerifyRequest {
        token: secret.expose().to_owned(),
        resource: RESOURCE.to_owned(),
        required_scopes: vec![SCOPE.to_owned()],
        ..Default::default()
    };
    let start = clock.boot_time();
    let verdict = verifier.token_verify().verify(question).await?.into_inner();
    let took = clock.boot_time().saturating_since(start);
    let answer = match verdict.decision() {
        v1::Decision::Deny => format!("DENY {}", verdict.deny_reason().as_str_name().trim_start_matches("DENY_REASON_")),
        decision => decision.as_str_name().trim_start_matches("DECISION_").to_owned(),
    };
    step("verify", &format!("{answer}: {SCOPE} on {RESOURCE}"), took)?;
    Ok(verdict)
}

fn step(verb: &str, what: &str, took: Duration) -> Result<(), Failure> {
    print_whole(&format!("  {verb}  {:>7.2} ms  {what}\n", took.as_secs_f64() * 1_000.0))
}

//! A call ends at the earlier of the service's and the client's deadline, whatever it waits for.

use tokend_client::v1::{ErrorReason, RevokeTokenRequest, token::State};
use tokend_tests::{Installation, eventually, held_writes, on_both_databases, on_sqlite, refusal, token_in};
use tonic::Code;

use crate::{peer::Peer, serve};

on_both_databases!(
    a_call_that_waits_for_the_database_times_out,
    a_started_revocation_completes_after_its_deadline
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const REVOKE: &str = "/tokend.v1.TokenAdmin/RevokeToken";

mod of_calls {
    use super::*;

    on_sqlite!(a_missing_message_ends_the_call, a_client_can_only_shorten_the_deadline);

    async fn a_missing_message_ends_the_call(installation: Installation) {
        let limits = "verify_deadline_ms = 200\nadmin_deadline_ms = 200\nrevocation_deadline_ms = 200";
        let server = serve(&installation, limits).await;
        let mut peer = Peer::connect(server.grpc_address()).await;
        for path in [VERIFY, LIST, REVOKE] {
            let call = peer.begin(path, server.admin_key(), &[]).await;
            let status = call.outcome().await.expect_err("the call has no message");
            refusal(&status, Code::DeadlineExceeded, ErrorReason::DeadlineExceeded);
        }
        peer.begin(LIST, server.admin_key(), &[])
            .await
            .finish()
            .await
            .expect("the connection still works");
    }

    async fn a_client_can_only_shorten_the_deadline(installation: Installation) {
        let server = serve(&installation, "verify_deadline_ms = 60000\nadmin_deadline_ms = 200").await;
        let mut peer = Peer::connect(server.grpc_address()).await;
        for (path, given) in [(VERIFY, "200m"), (VERIFY, "0S"), (LIST, "1H")] {
            let call = peer.begin(path, server.admin_key(), &[("grpc-timeout", given)]).await;
            let status = call.outcome().await.expect_err("the call has no message");
            refusal(&status, Code::DeadlineExceeded, ErrorReason::DeadlineExceeded);
        }
    }
}

async fn a_call_that_waits_for_the_database_times_out(installation: Installation) {
    let server = serve(&installation, "admin_deadline_ms = 400").await;
    let acme = server.workspace("acme").await;
    let held = held_writes::hold(&installation).await;
    let status = server
        .admin()
        .token_admin()
        .create_token(token_in(&acme))
        .await
        .expect_err("the call exceeds its deadline");
    refusal(&status, Code::DeadlineExceeded, ErrorReason::DeadlineExceeded);
    held.release().await;
    eventually("calls succeed again", async || {
        server.admin().token_admin().create_token(token_in(&acme)).await.ok()
    })
    .await;
}

/// The error does not say that the revocation failed, and it completes.
async fn a_started_revocation_completes_after_its_deadline(installation: Installation) {
    let server = serve(&installation, "revocation_deadline_ms = 300").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let held = held_writes::hold(&installation).await;
    let request = RevokeTokenRequest {
        name: token.public.name.clone(),
        ..Default::default()
    };
    let status = server
        .admin()
        .token_admin()
        .revoke_token(request)
        .await
        .expect_err("the call exceeds its deadline");
    refusal(&status, Code::DeadlineExceeded, ErrorReason::DeadlineExceeded);
    held.release().await;
    eventually("the token is revoked", async || {
        (server.get_token(&token.public.name).await.state() == State::Revoked).then_some(())
    })
    .await;
}

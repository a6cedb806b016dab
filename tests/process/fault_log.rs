//! The log has an internal fault once, with the request ID that the client receives.

use tokend_client::v1::{ErrorReason, GetTokenRequest};
use tokend_tests::{Installation, Server, eventually, on_both_databases, refusal, token_in};
use tonic::Code;
use tonic_types::StatusExt;

on_both_databases!(an_internal_fault_is_logged_once_with_the_clients_request_id);

/// Returns the log lines with this text.
fn lines_with(server: &Server, text: &str) -> Vec<String> {
    let log = server.process().stderr();
    log.lines()
        .filter(|line| line.contains(text))
        .map(str::to_owned)
        .collect()
}

async fn an_internal_fault_is_logged_once_with_the_clients_request_id(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let id = name.rsplit('/').next().expect("the value has an ID");
    assert_eq!(installation.sql("UPDATE tokens SET display_name = 'other'").await, 1);

    let request = GetTokenRequest { name: name.clone() };
    let read = server.admin().token_admin().get_token(request).await;
    let status = read.expect_err("the row's seal does not match");
    let details = status.get_error_details();
    let request_id = &details.request_info().expect("the value has an ID").request_id;
    refusal(&status, Code::Internal, ErrorReason::InternalFault);
    let lines = eventually("the fault is logged", async || {
        let lines = lines_with(&server, request_id);
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 1, "{}", server.process().stderr());
    assert!(lines[0].contains(id), "{lines:?}");
    assert_eq!(lines_with(&server, id), lines);
}

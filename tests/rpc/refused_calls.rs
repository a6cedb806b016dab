//! Every refused call of an administrative service is recorded, and a flood of refused calls does not delay others.

use std::time::Duration;

use bytes::Bytes;
use tokend_client::{
    Client,
    v1::{CreateCallerKeyRequest, CreateCallerRequest, ErrorReason, GetTokenRequest, Role, Selection},
};
use tokend_tests::{Installation, Records, Refused, http, on_both_databases, raw, token_in};
use tokio::{task::JoinSet, time::timeout};
use tonic::Code;

on_both_databases!(
    refused_calls_are_in_the_audit_log_of_the_installation,
    concurrent_refused_calls_are_all_recorded,
    a_flood_of_refused_calls_is_summarized,
    a_flood_of_refused_calls_does_not_block_revocations,
    a_refusal_is_sent_even_if_it_can_not_be_recorded,
);

async fn refused_calls_are_in_the_audit_log_of_the_installation(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let limited = CreateCallerRequest {
        caller_id: "team".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec!["workspaces/other".to_owned()],
        }),
        ..Default::default()
    };
    let team = server.caller_as(limited).await.secret;
    let verifier = server.caller("verifier", Role::Verifier).await.secret;
    let mut records = Records::of_installation(&installation).await;
    let before = records.of("-").await.len();

    let absent = format!("{acme}/tokens/00000000001000002");
    let get = GetTokenRequest { name: absent.clone() };
    server
        .client(&team)
        .await
        .token_admin()
        .get_token(get.clone())
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    server
        .client(&verifier)
        .await
        .token_admin()
        .get_token(get.clone())
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    server
        .admin()
        .token_admin()
        .get_token(get)
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    let ill_formed = GetTokenRequest {
        name: format!("{acme}/tokens/hunter2\n"),
    };
    server
        .admin()
        .token_admin()
        .get_token(ill_formed)
        .await
        .refused_field("name");
    // Calls that the gRPC framework refuses.
    let channel = raw::connect(server.grpc_address()).await;
    for (path, message) in [
        ("/tokend.v1.TokenAdmin/RevokeToken", &b"\xff"[..]),
        ("/tokend.v1.TokenAdmin/hunter2", b""),
    ] {
        raw::call_as(&channel, server.admin_key(), path, Bytes::from_static(message))
            .await
            .expect_err(path);
    }

    let recorded: Vec<_> = records.of("-").await[before..]
        .iter()
        .map(|record| {
            assert_eq!(
                (record.kind.as_str(), record.outcome.as_str()),
                ("call.refused", "REFUSED")
            );
            assert_eq!(record.address, "127.0.0.1");
            [&record.caller, &record.detail, &record.reason, &record.resource].map(Clone::clone)
        })
        .collect();
    let expected = [
        ["callers/team", "TokenAdmin/GetToken", "TOKEN_NOT_FOUND", &absent],
        ["callers/verifier", "TokenAdmin/GetToken", "ROLE_NOT_ALLOWED", ""],
        ["callers/admin", "TokenAdmin/GetToken", "TOKEN_NOT_FOUND", &absent],
        ["callers/admin", "TokenAdmin/GetToken", "INVALID_FIELD", &acme],
        ["callers/admin", "TokenAdmin/RevokeToken", "UNDECODABLE_REQUEST", ""],
        ["callers/admin", "a method that there is not", "UNKNOWN_METHOD", ""],
    ];
    assert_eq!(recorded, expected);
    assert_eq!(
        records.of("acme").await.len(),
        1,
        "refused calls are not in the chain of the workspace"
    );
}

async fn concurrent_refused_calls_are_all_recorded(installation: Installation) {
    const CONCURRENT: usize = 60;
    let server = installation.start().await;
    let calls: Vec<_> = (0..CONCURRENT)
        .map(|number| {
            let (client, name) = (server.admin().clone(), format!("workspaces/acme/tokens/{number:017}"));
            tokio::spawn(async move { client.token_admin().get_token(GetTokenRequest { name }).await })
        })
        .collect();
    for call in calls {
        call.await
            .expect("the task does not panic")
            .refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    // Each call is recorded before it is answered.
    let records = Records::of_installation(&installation).await.of("-").await;
    let mut refused: Vec<_> = records
        .into_iter()
        .filter(|record| record.kind == "call.refused")
        .collect();
    refused.sort_by(|one, other| one.resource.cmp(&other.resource));
    refused.dedup_by(|one, other| one.resource == other.resource);
    assert_eq!(refused.len(), CONCURRENT);
}

/// Makes `calls` calls about tokens that do not exist, several of them concurrently.
async fn make_refused_calls(client: &Client, calls: usize) {
    const CONCURRENT: usize = 20;
    let mut tasks = JoinSet::new();
    for part in 0..CONCURRENT {
        let client = client.clone();
        tasks.spawn(async move {
            for number in (part..calls).step_by(CONCURRENT) {
                let name = format!("workspaces/acme/tokens/{number:017}");
                let answer = client.token_admin().get_token(GetTokenRequest { name }).await;
                answer.refused(Code::NotFound, ErrorReason::TokenNotFound);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the calls are refused");
    }
}

async fn a_flood_of_refused_calls_is_summarized(installation: Installation) {
    const CALLS: usize = 1_000;
    let server = installation.start().await;
    let auditor = server.caller("auditor", Role::Auditor).await.secret;
    make_refused_calls(&server.client(&auditor).await, CALLS).await;
    // The calls of another caller are still recorded one by one.
    make_refused_calls(server.admin(), 1).await;
    server.stop().await;
    let records = Records::of_installation(&installation).await.of("-").await;
    let refused: Vec<_> = records
        .into_iter()
        .filter(|record| record.kind == "call.refused")
        .collect();
    let (flood, others): (Vec<_>, Vec<_>) = refused
        .into_iter()
        .partition(|record| record.caller == "callers/auditor");
    assert_eq!(others.len(), 1);
    let (sums, single): (Vec<_>, Vec<_>) = flood
        .into_iter()
        .partition(|record| record.detail.contains("more calls were refused"));
    assert!(
        (100..400).contains(&single.len()),
        "{} calls have an event each",
        single.len()
    );
    let counts = sums.iter().map(|sum| {
        assert_eq!(
            (sum.reason.as_str(), sum.outcome.as_str(), sum.resource.as_str()),
            ("TOKEN_NOT_FOUND", "REFUSED", "")
        );
        assert!(
            sum.detail.ends_with("TokenAdmin/GetToken TOKEN_NOT_FOUND"),
            "{}",
            sum.detail
        );
        sum.detail
            .split(' ')
            .next()
            .and_then(|count| count.parse::<usize>().ok())
            .expect("a number")
    });
    assert_eq!(
        single.len() + counts.sum::<usize>(),
        CALLS,
        "each call is in an event or in a summary"
    );
}

async fn a_flood_of_refused_calls_does_not_block_revocations(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut flood = JoinSet::new();
    for number in 0..5 {
        let auditor = server.caller(&format!("auditor-{number}"), Role::Auditor).await.secret;
        let client = server.client(&auditor).await;
        flood.spawn(async move {
            loop {
                make_refused_calls(&client, 200).await;
            }
        });
    }
    for _ in 0..5 {
        let token = server.token(token_in(&acme)).await.public.name;
        timeout(Duration::from_secs(30), server.revoke(&token))
            .await
            .expect("RevokeToken succeeds meanwhile");
    }
    flood.abort_all();
}

async fn a_refusal_is_sent_even_if_it_can_not_be_recorded(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    records.execute("UPDATE audit_chains SET sequence = sequence + 1").await;
    let get = GetTokenRequest {
        name: "workspaces/acme/tokens/00000000001000002".to_owned(),
    };
    server
        .admin()
        .token_admin()
        .get_token(get)
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    let metrics = http::get(server.ops_address(), "/metrics").1;
    assert!(
        metrics.lines().any(|line| line == "tokend_audit_failures_total 1"),
        "{metrics}"
    );
    // A change that can't be recorded is not applied.
    let request = CreateCallerKeyRequest {
        parent: "callers/admin".to_owned(),
        ttl: Some(Duration::from_secs(60).try_into().expect("short")),
    };
    server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .refused(Code::Internal, ErrorReason::InternalFault);
    let keys = records.count("SELECT count(*) FROM caller_keys").await;
    assert_eq!(keys, 1);
    assert!(
        server
            .stop()
            .await
            .stderr
            .contains("a refused call could not be recorded in the audit log")
    );
}

//! Every change and every refused administrative call is recorded once. Nothing else is recorded.

use bytes::Bytes;
use tokend_client::v1::{
    CreateTokenRequest, DeleteCallerRequest, ErrorReason, RevokeCallerKeyRequest, RevokeTokenRequest, Role,
};
use tokend_tests::{Installation, Records, Refused, http, on_both_databases, question, raw, refusal, token_in};
use tonic::{Code, Request};

on_both_databases!(
    every_change_is_recorded_once,
    retries_and_previews_are_not_recorded,
    unauthenticated_calls_and_verdicts_are_only_counted,
    an_actor_is_recorded_as_asserted,
);

/// Returns `type resource` of each record of a chain after the first `known` ones.
pub(crate) async fn events_since(records: &mut Records, chain: &str, known: usize) -> Vec<String> {
    let records = records.of(chain).await;
    records[known..]
        .iter()
        .map(|record| format!("{} {}", record.kind, record.resource))
        .collect()
}

async fn every_change_is_recorded_once(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let initial = records.of("-").await;
    let kinds: Vec<_> = initial.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["installation.created", "caller.created", "caller_key.created"]);
    assert!(
        initial
            .iter()
            .all(|record| record.caller.is_empty() && record.address.is_empty()),
        "recorded without a caller"
    );

    server.organization("initech").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    server.revoke(&token).await;
    server.suspend(&acme).await;
    server.resume(&acme).await;
    server.delete_workspace(&acme).await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let mut admin = server.admin().caller_admin();
    admin
        .revoke_caller_key(RevokeCallerKeyRequest {
            name: key.clone(),
            no_wait: false,
        })
        .await
        .expect("RevokeCallerKey succeeds");
    let name = "callers/gateway".to_owned();
    admin
        .delete_caller(DeleteCallerRequest { name, no_wait: false })
        .await
        .expect("DeleteCaller succeeds");

    let expected = [
        "organization.created organizations/initech".to_owned(),
        "workspace.created workspaces/acme".to_owned(),
        "caller.created callers/gateway".to_owned(),
        format!("caller_key.created {key}"),
        format!("caller_key.revoked {key}"),
        "caller.deleted callers/gateway".to_owned(),
    ];
    assert_eq!(events_since(&mut records, "-", 3).await, expected);
    let expected = [
        format!("workspace.created {acme}"),
        format!("token.created {token}"),
        format!("token.revoked {token}"),
        format!("workspace.suspended {acme}"),
        format!("workspace.resumed {acme}"),
        format!("workspace.deleted {acme}"),
    ];
    assert_eq!(events_since(&mut records, "acme", 0).await, expected);

    let of_acme = records.of("acme").await;
    for (index, record) in of_acme.iter().enumerate() {
        assert_eq!(
            (record.caller.as_str(), record.address.as_str()),
            ("callers/admin", "127.0.0.1")
        );
        assert_eq!((record.outcome.as_str(), record.actor.as_str()), ("DONE", ""));
        assert_eq!(record.sequence, index as i64 + 1);
        let before = if index == 0 {
            vec![0; 32]
        } else {
            of_acme[index - 1].hash.clone()
        };
        assert_eq!(record.previous_hash, before);
    }
    assert_eq!(of_acme[1].detail, "repository:write on workspaces/acme, for 3600 s");
    assert_eq!(of_acme[2].reason, "it leaked");
}

async fn retries_and_previews_are_not_recorded(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        request_id: "once".to_owned(),
        ..token_in(&acme)
    };
    let token = server.token(request.clone()).await.public.name;
    server.revoke(&token).await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let revoke = RevokeCallerKeyRequest {
        name: key,
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke.clone())
        .await
        .expect("RevokeCallerKey succeeds");
    let before = (records.of("-").await.len(), records.of("acme").await.len());

    server.token(request.clone()).await;
    server.revoke(&token).await;
    server.resume(&acme).await;
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    let preview = CreateTokenRequest {
        validate_only: true,
        ..token_in(&acme)
    };
    server
        .admin()
        .token_admin()
        .create_token(preview)
        .await
        .expect("CreateToken succeeds");
    server.get_token(&token).await;
    assert_eq!((records.of("-").await.len(), records.of("acme").await.len()), before);

    server.delete_workspace(&acme).await;
    let after_deletion = records.of("acme").await.len();
    server.delete_workspace(&acme).await;
    server.token(request).await;
    assert_eq!(records.of("acme").await.len(), after_deletion);
}

async fn unauthenticated_calls_and_verdicts_are_only_counted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await;

    let channel = raw::connect(server.grpc_address()).await;
    for path in raw::contract_paths() {
        let status = raw::call(&channel, &path, &[], &[Bytes::new()]).await.expect_err(&path);
        refusal(&status, Code::Unauthenticated, ErrorReason::MissingCredential);
    }
    raw::call_as(&channel, "garbage", "/tokend.v1.TokenAdmin/GetToken", Bytes::new())
        .await
        .expect_err("the key is invalid");
    for _ in 0..3 {
        server.verdict(question("garbage", &acme, &[])).await;
    }
    server.verdict(question(&token.secret, &acme, &["webhook"])).await;
    raw::call_as(
        &channel,
        server.admin_key(),
        "/tokend.v1.TokenVerify/Verify",
        Bytes::new(),
    )
    .await
    .expect_err("the request is empty");
    assert_eq!(records.all().await, before);

    let metrics = http::get(server.ops_address(), "/metrics").1;
    let calls = raw::contract_paths().len();
    for line in [
        format!("tokend_unauthenticated_calls_total{{reason=\"MISSING_CREDENTIAL\"}} {calls}"),
        "tokend_unauthenticated_calls_total{reason=\"INVALID_CREDENTIAL\"} 1".to_owned(),
        "tokend_denied_verdicts_total{reason=\"UNRECOGNIZED\"} 3".to_owned(),
        "tokend_denied_verdicts_total{reason=\"INSUFFICIENT_SCOPE\"} 1".to_owned(),
        "tokend_denied_verdicts_total{reason=\"REVOKED\"} 0".to_owned(),
        "tokend_audit_failures_total 0".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|metric| metric == line),
            "{line} is not in\n{metrics}"
        );
    }
    // The log is rate-limited: it has no line for each call.
    let log = server.stop().await.stderr;
    assert_eq!(log.matches("a call was not authenticated").count(), 1, "{log}");
}

async fn an_actor_is_recorded_as_asserted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut records = Records::of_installation(&installation).await;
    let create = async |actors: &[&str]| {
        let mut request = Request::new(token_in(&acme));
        for actor in actors {
            request
                .metadata_mut()
                .append("x-tokend-actor", actor.parse().expect("the header value is valid"));
        }
        server.admin().token_admin().create_token(request).await
    };
    let longest = "x".repeat(128);
    for actor in ["ada@example.org", "Ada Lovelace <ada>; DROP TABLE", &longest] {
        create(&[actor]).await.expect("CreateToken succeeds");
        assert_eq!(
            records.of("acme").await.pop().expect("the chain has a record").actor,
            actor
        );
    }
    let secret = server.token(token_in(&acme)).await.secret;
    let known = records.of("acme").await.len();
    for actors in [
        &[""][..],
        &["x".repeat(129).as_str()],
        &["ada", "ada"],
        &[&secret],
        &[&format!("ada {secret}")],
    ] {
        let failure = create(actors)
            .await
            .refused(Code::InvalidArgument, ErrorReason::InvalidActor);
        assert!(!failure.message.contains(&secret[30..]), "{failure:?}");
    }
    assert_eq!(records.of("acme").await.len(), known);
    // The record of a refused call has the actor, too.
    let mut request = Request::new(RevokeTokenRequest {
        name: format!("{acme}/tokens/00000000001000002"),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("x-tokend-actor", "mallory".parse().expect("the header value is valid"));
    server
        .admin()
        .token_admin()
        .revoke_token(request)
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert_eq!(
        records.of("-").await.pop().expect("the chain has a record").actor,
        "mallory"
    );
}

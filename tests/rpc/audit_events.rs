//! Every change is on record, and every refused call of an administrative service; nothing else is, and no repetition.

use std::time::Duration;

use bytes::Bytes;
use tokend_client::{
    Client,
    v1::{
        CreateCallerKeyRequest, CreateCallerRequest, CreateTokenRequest, DeleteCallerRequest, ErrorReason, GetTokenRequest,
        RevokeCallerKeyRequest, RevokeTokenRequest, Role, Selection,
    },
};
use tokend_tests::{Installation, Records, Refused, http, on_both_databases, question, raw, refusal, token_in};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Request};

on_both_databases!(
    every_change_is_on_record_once,
    repetitions_and_rehearsals_are_not,
    refused_calls_are_on_the_installations_record,
    refused_calls_at_once_are_all_on_record,
    refused_calls_without_end_are_summed_up,
    revocations_go_on_beside_refused_calls_without_end,
    strangers_and_verdicts_are_counted_only,
    an_actor_is_recorded_as_asserted,
    a_refusal_goes_out_although_it_can_not_be_recorded,
);

/// `type resource` of the records of a chain that stand behind the `known` first ones.
async fn told(records: &mut Records, chain: &str, known: usize) -> Vec<String> {
    let records = records.of(chain).await;
    records[known..].iter().map(|record| format!("{} {}", record.kind, record.resource)).collect()
}

async fn every_change_is_on_record_once(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let made = records.of("-").await;
    let kinds: Vec<_> = made.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["installation.created", "caller.created", "caller_key.created"]);
    assert!(made.iter().all(|record| record.caller.is_empty() && record.address.is_empty()), "by whoever sat at the machine");

    server.organization("initech").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    server.revoke(&token).await;
    server.suspend(&acme).await;
    server.resume(&acme).await;
    server.delete_workspace(&acme).await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let mut admin = server.admin().caller_admin();
    admin.revoke_caller_key(RevokeCallerKeyRequest { name: key.clone(), no_wait: false }).await.expect("it is revoked");
    let name = "callers/gateway".to_owned();
    admin.delete_caller(DeleteCallerRequest { name, no_wait: false }).await.expect("it is deleted");

    let expected = [
        "organization.created organizations/initech".to_owned(),
        "workspace.created workspaces/acme".to_owned(),
        "caller.created callers/gateway".to_owned(),
        format!("caller_key.created {key}"),
        format!("caller_key.revoked {key}"),
        "caller.deleted callers/gateway".to_owned(),
    ];
    assert_eq!(told(&mut records, "-", 3).await, expected);
    let expected = [
        format!("workspace.created {acme}"),
        format!("token.created {token}"),
        format!("token.revoked {token}"),
        format!("workspace.suspended {acme}"),
        format!("workspace.resumed {acme}"),
        format!("workspace.deleted {acme}"),
    ];
    assert_eq!(told(&mut records, "acme", 0).await, expected);

    let of_acme = records.of("acme").await;
    for (index, record) in of_acme.iter().enumerate() {
        assert_eq!((record.caller.as_str(), record.address.as_str()), ("callers/admin", "127.0.0.1"));
        assert_eq!((record.outcome.as_str(), record.actor.as_str()), ("DONE", ""));
        assert_eq!(record.sequence, index as i64 + 1);
        let before = if index == 0 { vec![0; 32] } else { of_acme[index - 1].hash.clone() };
        assert_eq!(record.previous_hash, before);
    }
    assert_eq!(of_acme[1].detail, "repository:write on workspaces/acme, for 3600 s");
    assert_eq!(of_acme[2].reason, "it leaked");
}

async fn repetitions_and_rehearsals_are_not(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest { request_id: "once".to_owned(), ..token_in(&acme) };
    let token = server.token(request.clone()).await.public.name;
    server.revoke(&token).await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let revoke = RevokeCallerKeyRequest { name: key, no_wait: false };
    server.admin().caller_admin().revoke_caller_key(revoke.clone()).await.expect("it is revoked");
    let before = (records.of("-").await.len(), records.of("acme").await.len());

    server.token(request.clone()).await;
    server.revoke(&token).await;
    server.resume(&acme).await;
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("again");
    let rehearsal = CreateTokenRequest { validate_only: true, ..token_in(&acme) };
    server.admin().token_admin().create_token(rehearsal).await.expect("it would work");
    server.get_token(&token).await;
    assert_eq!((records.of("-").await.len(), records.of("acme").await.len()), before);

    server.delete_workspace(&acme).await;
    let ended = records.of("acme").await.len();
    server.delete_workspace(&acme).await;
    server.token(request).await;
    assert_eq!(records.of("acme").await.len(), ended);
}

async fn refused_calls_are_on_the_installations_record(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let limited = CreateCallerRequest {
        caller_id: "team".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection { all: false, only: vec!["workspaces/other".to_owned()] }),
        ..Default::default()
    };
    let team = server.caller_as(limited).await.secret;
    let verifier = server.caller("verifier", Role::Verifier).await.secret;
    let mut records = Records::of_installation(&installation).await;
    let known = records.of("-").await.len();

    let absent = format!("{acme}/tokens/00000000001000002");
    let get = GetTokenRequest { name: absent.clone() };
    server.client(&team).await.token_admin().get_token(get.clone()).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    server
        .client(&verifier)
        .await
        .token_admin()
        .get_token(get.clone())
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    server.admin().token_admin().get_token(get).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    let ill_formed = GetTokenRequest { name: format!("{acme}/tokens/hunter2\n") };
    server.admin().token_admin().get_token(ill_formed).await.refused_field("name");
    // What the framework refuses, and what there is not.
    let channel = raw::connect(server.grpc_address()).await;
    for (path, message) in [("/tokend.v1.TokenAdmin/RevokeToken", &b"\xff"[..]), ("/tokend.v1.TokenAdmin/hunter2", b"")] {
        raw::call_as(&channel, server.admin_key(), path, Bytes::from_static(message)).await.expect_err(path);
    }

    let told: Vec<_> = records.of("-").await[known..]
        .iter()
        .map(|record| {
            assert_eq!((record.kind.as_str(), record.outcome.as_str()), ("call.refused", "REFUSED"));
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
    assert_eq!(told, expected);
    assert_eq!(records.of("acme").await.len(), 1, "nobody can fill the chain of a workspace");
}

async fn refused_calls_at_once_are_all_on_record(installation: Installation) {
    const AT_ONCE: usize = 60;
    let server = installation.start().await;
    let calls: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (client, name) = (server.admin().clone(), format!("workspaces/acme/tokens/{number:017}"));
            tokio::spawn(async move { client.token_admin().get_token(GetTokenRequest { name }).await })
        })
        .collect();
    for call in calls {
        call.await.expect("it ends").refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    // Each was on record before it was answered.
    let records = Records::of_installation(&installation).await.of("-").await;
    let mut refused: Vec<_> = records.into_iter().filter(|record| record.kind == "call.refused").collect();
    refused.sort_by(|one, other| one.resource.cmp(&other.resource));
    refused.dedup_by(|one, other| one.resource == other.resource);
    assert_eq!(refused.len(), AT_ONCE);
}

/// Makes so many calls about tokens that there are not, several at once.
async fn make_refused_calls(client: &Client, calls: usize) {
    const AT_ONCE: usize = 20;
    let mut making = JoinSet::new();
    for part in 0..AT_ONCE {
        let client = client.clone();
        making.spawn(async move {
            for number in (part..calls).step_by(AT_ONCE) {
                let name = format!("workspaces/acme/tokens/{number:017}");
                let answer = client.token_admin().get_token(GetTokenRequest { name }).await;
                answer.refused(Code::NotFound, ErrorReason::TokenNotFound);
            }
        });
    }
    while let Some(done) = making.join_next().await {
        done.expect("they are refused");
    }
}

async fn refused_calls_without_end_are_summed_up(installation: Installation) {
    const CALLS: usize = 1_000;
    let server = installation.start().await;
    let auditor = server.caller("auditor", Role::Auditor).await.secret;
    make_refused_calls(&server.client(&auditor).await, CALLS).await;
    // Another caller's are on record as before.
    make_refused_calls(server.admin(), 1).await;
    server.stop().await;
    let records = Records::of_installation(&installation).await.of("-").await;
    let refused: Vec<_> = records.into_iter().filter(|record| record.kind == "call.refused").collect();
    let (own, others): (Vec<_>, Vec<_>) = refused.into_iter().partition(|record| record.caller == "callers/auditor");
    assert_eq!(others.len(), 1);
    let (sums, single): (Vec<_>, Vec<_>) = own.into_iter().partition(|record| record.detail.contains("more calls were refused"));
    assert!((100..400).contains(&single.len()), "{} of them have an event each", single.len());
    let counts = sums.iter().map(|sum| {
        assert_eq!((sum.reason.as_str(), sum.outcome.as_str(), sum.resource.as_str()), ("TOKEN_NOT_FOUND", "REFUSED", ""));
        assert!(sum.detail.ends_with("TokenAdmin/GetToken TOKEN_NOT_FOUND"), "{}", sum.detail);
        sum.detail.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a number")
    });
    assert_eq!(single.len() + counts.sum::<usize>(), CALLS, "each is on record or in a sum");
}

async fn revocations_go_on_beside_refused_calls_without_end(installation: Installation) {
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
        timeout(Duration::from_secs(30), server.revoke(&token)).await.expect("it is revoked meanwhile");
    }
    flood.abort_all();
}

async fn strangers_and_verdicts_are_counted_only(installation: Installation) {
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
    raw::call_as(&channel, "garbage", "/tokend.v1.TokenAdmin/GetToken", Bytes::new()).await.expect_err("nobody");
    for _ in 0..3 {
        server.verdict(question("garbage", &acme, &[])).await;
    }
    server.verdict(question(&token.secret, &acme, &["webhook"])).await;
    raw::call_as(&channel, server.admin_key(), "/tokend.v1.TokenVerify/Verify", Bytes::new()).await.expect_err("no question");
    assert_eq!(records.all().await, before);

    let metrics = http::get(server.ops_address(), "/metrics").1;
    let strangers = raw::contract_paths().len();
    for line in [
        format!("tokend_unauthenticated_calls_total{{reason=\"MISSING_CREDENTIAL\"}} {strangers}"),
        "tokend_unauthenticated_calls_total{reason=\"INVALID_CREDENTIAL\"} 1".to_owned(),
        "tokend_denied_verdicts_total{reason=\"UNRECOGNIZED\"} 3".to_owned(),
        "tokend_denied_verdicts_total{reason=\"INSUFFICIENT_SCOPE\"} 1".to_owned(),
        "tokend_denied_verdicts_total{reason=\"REVOKED\"} 0".to_owned(),
        "tokend_audit_failures_total 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
    // A line of the log now and then, not one for each.
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
            request.metadata_mut().append("x-tokend-actor", actor.parse().expect("a header can carry it"));
        }
        server.admin().token_admin().create_token(request).await
    };
    let longest = "x".repeat(128);
    for actor in ["ada@example.org", "Ada Lovelace <ada>; DROP TABLE", &longest] {
        create(&[actor]).await.expect("it is made");
        assert_eq!(records.of("acme").await.pop().expect("a record").actor, actor);
    }
    let secret = server.token(token_in(&acme)).await.secret;
    let known = records.of("acme").await.len();
    for actors in [&[""][..], &["x".repeat(129).as_str()], &["ada", "ada"], &[&secret], &[&format!("ada {secret}")]] {
        let failure = create(actors).await.refused(Code::InvalidArgument, ErrorReason::InvalidActor);
        assert!(!failure.message.contains(&secret[30..]), "{failure:?}");
    }
    assert_eq!(records.of("acme").await.len(), known);
    // A refused call tells on whose behalf it was made, too.
    let mut request = Request::new(RevokeTokenRequest { name: format!("{acme}/tokens/00000000001000002"), ..Default::default() });
    request.metadata_mut().insert("x-tokend-actor", "mallory".parse().expect("a header can carry it"));
    server.admin().token_admin().revoke_token(request).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert_eq!(records.of("-").await.pop().expect("a record").actor, "mallory");
}

async fn a_refusal_goes_out_although_it_can_not_be_recorded(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    records.execute("UPDATE audit_chains SET sequence = sequence + 1").await;
    let get = GetTokenRequest { name: "workspaces/acme/tokens/00000000001000002".to_owned() };
    server.admin().token_admin().get_token(get).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    let metrics = http::get(server.ops_address(), "/metrics").1;
    assert!(metrics.lines().any(|line| line == "tokend_audit_failures_total 1"), "{metrics}");
    // A change that can't be recorded is none.
    let request = CreateCallerKeyRequest {
        parent: "callers/admin".to_owned(),
        ttl: Some(Duration::from_secs(60).try_into().expect("short")),
    };
    server.admin().caller_admin().create_caller_key(request).await.refused(Code::Internal, ErrorReason::InternalFault);
    let keys = records.count("SELECT count(*) FROM caller_keys").await;
    assert_eq!(keys, 1);
    assert!(server.stop().await.stderr.contains("a refused call could not be put on record"));
}

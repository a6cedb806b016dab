//! `TokenAdmin.RevokeLeakedTokens`: what somebody found is dead when it returns, and everybody knows where it was found.

use std::time::Duration;

use tokend_client::v1::{
    Decision, DenyReason, ErrorReason, RevokeLeakedTokensRequest, RevokeLeakedTokensResponse, Role, VerifyRequest,
    revoke_leaked_tokens_request::Leak,
    revoke_leaked_tokens_response::{Kind, Label, Result as Found},
    token::State,
};
use tokend_tests::{
    Installation, Records, Refused, Server, StoredRecord, http, on_both_databases, on_postgres, question, token_in,
};
use tonic::{Code, Status};

on_both_databases!(
    each_string_of_a_mixed_batch_is_told_for_what_it_is,
    a_token_is_found_inside_any_text,
    all_credentials_of_a_string_are_found,
    the_token_and_the_record_say_who_found_it_where,
    dead_ones_are_ours_and_stay_as_they_are,
    a_string_that_stands_there_often_is_ended_once,
    a_leaked_caller_key_does_not_go_unnoticed,
    a_thousand_at_once_in_several_workspaces,
    a_tampered_row_is_no_false_positive_and_keeps_no_other_alive,
    a_field_that_does_not_fit_is_named,
);

/// What a lock in the database shows; SQLite has one for all.
mod locked {
    use super::*;

    on_postgres!(a_locked_workspace_keeps_no_other_token_alive, what_can_not_be_looked_up_has_no_label);

    async fn a_locked_workspace_keeps_no_other_token_alive(installation: Installation) {
        let server = installation.start().await;
        let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
        let (first, second) = (server.token(token_in(&acme)).await, server.token(token_in(&other)).await);
        let mut somebody = Records::of_installation(&installation).await;
        somebody.execute("BEGIN; SELECT 1 FROM workspaces WHERE id = 'acme' FOR UPDATE").await;
        let leaks = || report(vec![leak(&first.secret), leak("junk"), leak(&second.secret)]);
        let answer = server.admin().token_admin().revoke_leaked_tokens(leaks()).await;
        answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
        assert_eq!(denied(&server, question(&second.secret, &other, &[])).await, DenyReason::Revoked, "its workspace is free");
        somebody.execute("ROLLBACK").await;
        server.admin().token_admin().revoke_leaked_tokens(leaks()).await.expect("it is safe to repeat");
        assert_eq!(denied(&server, question(&first.secret, &acme, &[])).await, DenyReason::Revoked);
    }

    async fn what_can_not_be_looked_up_has_no_label(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mut somebody = Records::of_installation(&installation).await;
        somebody.execute("BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").await;
        let answer = server.admin().token_admin().revoke_leaked_tokens(report(vec![leak("junk"), leak(&token.secret)])).await;
        answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
        somebody.execute("ROLLBACK").await;
        assert_eq!(server.get_token(&token.public.name).await.state(), State::Active);
    }
}

fn leak(secret: &str) -> Leak {
    Leak { secret: secret.to_owned(), url: "https://gist.example/1".to_owned(), source: "gist".to_owned() }
}

fn report(leaks: Vec<Leak>) -> RevokeLeakedTokensRequest {
    RevokeLeakedTokensRequest { leaks, no_wait: false }
}

/// As the leak intake, a REVOKER.
async fn try_as_intake(server: &Server, leaks: Vec<Leak>) -> Result<RevokeLeakedTokensResponse, Status> {
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let intake = server.client(&intake.secret).await;
    Ok(intake.token_admin().revoke_leaked_tokens(report(leaks)).await?.into_inner())
}

async fn revoke_leaked(server: &Server, leaks: Vec<Leak>) -> RevokeLeakedTokensResponse {
    server.admin().token_admin().revoke_leaked_tokens(report(leaks)).await.expect("it is answered").into_inner()
}

fn token_of_ours(name: &str) -> Found {
    Found {
        label: Label::TruePositive.into(),
        token: name.to_owned(),
        kind: Kind::WorkspaceToken.into(),
        caller_key: String::new(),
        others: Vec::new(),
    }
}

fn foreign() -> Found {
    Found { label: Label::FalsePositive.into(), ..Default::default() }
}

async fn denied(server: &Server, question: VerifyRequest) -> DenyReason {
    server.verdict(question).await.deny_reason()
}

async fn each_string_of_a_mixed_batch_is_told_for_what_it_is(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (good, bystander) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let (elsewhere, dead) = (server.token(token_in(&other)).await, server.token(token_in(&other)).await);
    server.revoke(&dead.public.name).await;
    let cut_short = &bystander.secret[..73];
    let strings = [
        "",
        "garbage",
        &format!("\t {}\r\n", good.secret),
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        &elsewhere.secret,
        cut_short,
        &dead.secret,
        &bystander.secret.to_uppercase(),
        server.admin_key(),
    ];
    let answer = try_as_intake(&server, strings.map(leak).to_vec()).await.expect("whatever they are, it is no error");
    let [names @ .., key] = answer.results.as_slice() else { panic!("nothing is told") };
    let expected = [
        foreign(),
        foreign(),
        token_of_ours(&good.public.name),
        foreign(),
        token_of_ours(&elsewhere.public.name),
        foreign(),
        token_of_ours(&dead.public.name),
        foreign(),
    ];
    assert_eq!(names, expected);
    assert_eq!((key.label(), key.kind(), key.token.as_str()), (Label::TruePositive, Kind::CallerKey, ""));
    assert!(key.caller_key.starts_with("callers/admin/keys/"), "{key:?}");
    for (secret, workspace) in [(&good.secret, &acme), (&elsewhere.secret, &other), (&dead.secret, &other)] {
        assert_eq!(denied(&server, question(secret, workspace, &[])).await, DenyReason::Revoked);
    }
    assert_eq!(server.verdict(question(&bystander.secret, &acme, &[])).await.decision(), Decision::Allow, "it was not found");
}

async fn a_token_is_found_inside_any_text(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (mut names, mut leaks) = (Vec::new(), Vec::new());
    for around in [
        "\"{}\"",
        "'{}',",
        "https://x-token-auth:{}@git.example.com/acme/site.git",
        "https://example.com/?token={}&page=2",
        r#"{"headers": {"authorization": "Bearer {}"}}"#,
        r"remote: {}\n",
        "2027-01-31T12:00:00Z INFO 127.0.0.1 \"GET /\" token={} 200",
        "\u{feff}{}",
        "\u{200b}{}\u{2060}\u{a0}",
        "export TOKEN={};",
        "prefix{}suffix",
        "ä{}ä",
        "tkdw_{}",
    ] {
        let token = server.token(token_in(&acme)).await;
        leaks.push(leak(&around.replace("{}", &token.secret)));
        names.push(token.public.name);
    }
    // A text that is wrapped, or was read in the wrong encoding.
    for between in ["\r\n", "\u{200b}", "\0"] {
        let token = server.token(token_in(&acme)).await;
        leaks.push(leak(&token.secret.chars().flat_map(|char| [char.to_string(), between.to_owned()]).collect::<String>()));
        names.push(token.public.name);
    }
    let answer = try_as_intake(&server, leaks).await.expect("it is answered");
    assert_eq!(answer.results, names.iter().map(|name| token_of_ours(name)).collect::<Vec<_>>());
    for name in &names {
        assert_eq!(server.get_token(name).await.state(), State::Revoked);
    }
}

async fn all_credentials_of_a_string_are_found(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (first, second) = (server.token(token_in(&acme)).await, server.token(token_in(&other)).await);
    let misspelled = first.secret.to_lowercase();
    let key = server.admin_key();
    let text = format!("{misspelled}\nA={key}\nB={}\nC={}{}\n", first.secret, second.secret, first.secret);
    let answer = revoke_leaked(&server, vec![leak("junk"), leak(&text)]).await;
    let [junk, found] = answer.results.as_slice() else { panic!("{answer:?}") };
    assert_eq!(*junk, foreign());
    assert_eq!((found.label(), found.kind()), (Label::TruePositive, Kind::CallerKey), "the first of them");
    assert!(found.caller_key.starts_with("callers/admin/keys/"), "{found:?}");
    assert_eq!(found.others, [token_of_ours(&first.public.name), token_of_ours(&second.public.name)], "each once");
    for (secret, workspace) in [(&first.secret, &acme), (&second.secret, &other)] {
        assert_eq!(denied(&server, question(secret, workspace, &[])).await, DenyReason::Revoked);
    }
}

async fn the_token_and_the_record_say_who_found_it_where(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let url = format!("https://example.com/log?header={}&page=2", token.secret);
    let found = Leak { secret: token.secret.clone(), url, source: "CI log".to_owned() };
    try_as_intake(&server, vec![found]).await.expect("it is revoked");

    let (kept, secret_part) = token.secret.split_at("tkdw_".len() + 19);
    let reason = format!("leaked: source CI log, at https://example.com/log?header={kept}...&page=2");
    let told = server.get_token(&token.public.name).await;
    assert_eq!((told.state(), told.revoke_reason.as_str()), (State::Revoked, reason.as_str()));
    assert_eq!(told.revoker, "callers/leak-intake");
    let StoredRecord { kind, caller, resource, reason: recorded, detail, .. } = records.of("acme").await.pop().expect("a record");
    assert_eq!([kind, caller, resource], ["token.revoked", "callers/leak-intake", token.public.name.as_str()]);
    assert_eq!(recorded, reason);
    assert_eq!(detail, format!("reported as {reason}"));
    for record in records.all().await {
        assert!(!format!("{record:?}").contains(secret_part), "the secret is on record: {record:?}");
    }
}

async fn dead_ones_are_ours_and_stay_as_they_are(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (revoked, expired) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let first = server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(2 * 3_600));
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await.len();
    let answer = revoke_leaked(&server, vec![leak(&revoked.secret)]).await;
    assert_eq!(answer.results, [token_of_ours(&revoked.public.name)]);
    assert_eq!(server.get_token(&revoked.public.name).await, first.token.expect("told"), "nothing is overwritten");
    assert_eq!(records.all().await.len(), before, "a repetition is not on record");
    let (first, again) = (first.revision.expect("told"), answer.revision.expect("told"));
    assert!(again.number > first.number, "that it is dead is told at a revision of its own: {again:?} after {first:?}");

    let answer = revoke_leaked(&server, vec![leak(&expired.secret)]).await;
    assert_eq!(answer.results, [token_of_ours(&expired.public.name)]);
    assert_eq!(server.get_token(&expired.public.name).await.state(), State::Revoked);
    let of_junk = revoke_leaked(&server, vec![leak("junk")]).await.revision.expect("told");
    assert!(of_junk.number > again.number, "so does an answer that found nothing");
}

async fn a_string_that_stands_there_often_is_ended_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await.len();
    let second = Leak { url: "https://gist.example/2".to_owned(), source: String::new(), ..leak(&token.secret) };
    let with_space = Leak { secret: format!(" {} ", token.secret), ..leak("") };
    let answer = revoke_leaked(&server, vec![leak(&token.secret), second, leak("junk"), with_space]).await;
    let ours = token_of_ours(&token.public.name);
    assert_eq!(answer.results, [ours.clone(), ours.clone(), foreign(), ours]);
    let told = records.all().await;
    assert_eq!(told.len(), before + 1, "ended once");
    let detail = &records.of("acme").await.pop().expect("a record").detail;
    assert_eq!(detail, "reported as leaked: source gist, at https://gist.example/1; at https://gist.example/2");
}

async fn a_leaked_caller_key_does_not_go_unnoticed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let mut records = Records::of_installation(&installation).await;
    let answer = try_as_intake(&server, vec![leak(&gateway.secret), leak(&token.secret), leak("junk")]).await.expect("told");
    let (label, kind) = (Label::TruePositive.into(), Kind::CallerKey.into());
    let key = Found { label, kind, caller_key: gateway.public.clone(), ..Default::default() };
    assert_eq!(answer.results, [key, token_of_ours(&token.public.name), foreign()]);

    let record = records.of("-").await.pop().expect("a record");
    assert_eq!([record.kind, record.resource, record.caller], ["caller_key.leaked", &gateway.public, "callers/leak-intake"]);
    assert_eq!(record.detail, "reported as leaked: source gist, at https://gist.example/1");
    let metrics = http::get(server.ops_address(), "/metrics").1;
    for kind in ["caller_key", "workspace_token", "foreign"] {
        let line = format!("tokend_leaked_secrets_total{{kind=\"{kind}\"}} 1");
        assert!(metrics.lines().any(|known| known == line), "no {line} in {metrics}");
    }
    // It is not ended: that would stop a service.
    server.client(&gateway.secret).await.token_verify().verify(question("", &acme, &[])).await.expect("it still works");
    let log = server.stop().await.stderr;
    let line = log.lines().find(|line| line.contains("a caller key was reported as leaked")).unwrap_or_else(|| panic!("in {log}"));
    assert!(line.contains("ERROR") && line.contains(&gateway.public), "{line}");
    assert!(installation.run_on_data(["audit", "verify"]).await.succeeded().contains("chains"), "the log is whole");
}

async fn a_thousand_at_once_in_several_workspaces(installation: Installation) {
    let server = installation.start().await;
    let mut tokens = Vec::new();
    for id in ["acme", "globex", "initech"] {
        let workspace = server.workspace(id).await;
        // In one of them more than one write ends.
        let count = if id == "globex" { 60 } else { 2 };
        for _ in 0..count {
            tokens.push((server.token(token_in(&workspace)).await, workspace.clone()));
        }
    }
    let mut leaks: Vec<_> = tokens.iter().map(|(token, _)| leak(&token.secret)).collect();
    leaks.resize_with(1_000, || Leak { url: "u".repeat(800), ..leak("junk") });
    let answer = revoke_leaked(&server, leaks).await;
    let expected: Vec<_> = tokens.iter().map(|(token, _)| token_of_ours(&token.public.name)).collect();
    assert_eq!(answer.results[..expected.len()], expected);
    assert!(answer.results[expected.len()..].iter().all(|result| *result == foreign()));
    assert_eq!(answer.results.len(), 1_000);
    let mut last = None;
    for (token, workspace) in &tokens {
        let verdict = server.verdict(question(&token.secret, workspace, &[])).await;
        assert_eq!(verdict.deny_reason(), DenyReason::Revoked);
        last = verdict.revision;
    }
    assert_eq!(last, answer.revision, "the revision is that of the last change");
}

async fn a_tampered_row_is_no_false_positive_and_keeps_no_other_alive(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let edited = server.token(token_in(&acme)).await;
    let beside = server.token(token_in(&acme)).await;
    let elsewhere = server.token(token_in(&other)).await;
    let oldest = "SELECT min(create_time) FROM tokens";
    let met = installation.sql(&format!("UPDATE tokens SET display_name = 'edited' WHERE create_time = ({oldest})")).await;
    assert_eq!(met, 1);
    let leaks = || vec![leak(&edited.secret), leak("junk"), leak(&beside.secret), leak(&elsewhere.secret)];
    let answer = server.admin().token_admin().revoke_leaked_tokens(report(leaks())).await;
    answer.refused(Code::Internal, ErrorReason::InternalFault);
    for (token, workspace) in [(&beside, &acme), (&elsewhere, &other)] {
        assert_eq!(denied(&server, question(&token.secret, workspace, &[])).await, DenyReason::Revoked);
    }
    // Once the row is what it was, the same call does the rest.
    installation.sql("UPDATE tokens SET display_name = 'ci'").await;
    let answer = revoke_leaked(&server, leaks()).await;
    assert_eq!(answer.results[0], token_of_ours(&edited.public.name));
    assert_eq!(denied(&server, question(&edited.secret, &acme, &[])).await, DenyReason::Revoked);
}

async fn a_field_that_does_not_fit_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let revoke = async |leaks: Vec<Leak>| server.admin().token_admin().revoke_leaked_tokens(report(leaks)).await;
    revoke(Vec::new()).await.refused_field("leaks");
    revoke(vec![leak("junk"); 1_001]).await.refused_field("leaks");
    for (url, source, field) in [
        ("u".repeat(2_049), String::new(), "leaks[1].url"),
        ("https://a\nb".to_owned(), String::new(), "leaks[1].url"),
        (String::new(), "s".repeat(101), "leaks[1].source"),
        (String::new(), "a\u{202e}b".to_owned(), "leaks[1].source"),
    ] {
        revoke(vec![leak(&token.secret), Leak { secret: token.secret.clone(), url, source }]).await.refused_field(field);
    }
    assert_eq!(server.get_token(&token.public.name).await.state(), State::Active, "nothing is half done");
    let largest = Leak { secret: token.secret.clone(), url: "é".repeat(2_048), source: "é".repeat(100) };
    revoke(vec![largest]).await.expect("the limits are inclusive");
}

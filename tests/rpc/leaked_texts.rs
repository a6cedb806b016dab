//! `TokenAdmin.RevokeLeakedTokens` finds every token in any text.

use tokend_client::v1::{
    DenyReason, Role,
    revoke_leaked_tokens_request::Leak,
    revoke_leaked_tokens_response::{Kind, Label, Result as Found},
    token::State,
};
use tokend_tests::{Installation, Records, http, on_both_databases, question, token_in};

use crate::revoke_leaked_tokens::{denied, foreign, leak, revoke_leaked, token_of_ours, try_as_intake};

on_both_databases!(
    a_token_is_found_inside_any_text,
    all_credentials_of_a_string_are_found,
    a_repeated_secret_is_revoked_once,
    a_leaked_caller_key_is_recorded_and_logged,
    a_thousand_leaks_in_several_workspaces_are_processed,
);

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
    // Wrapped text, and text that was read in the wrong encoding.
    for between in ["\r\n", "\u{200b}", "\0"] {
        let token = server.token(token_in(&acme)).await;
        leaks.push(leak(
            &token
                .secret
                .chars()
                .flat_map(|char| [char.to_string(), between.to_owned()])
                .collect::<String>(),
        ));
        names.push(token.public.name);
    }
    let answer = try_as_intake(&server, leaks)
        .await
        .expect("RevokeLeakedTokens succeeds");
    assert_eq!(
        answer.results,
        names.iter().map(|name| token_of_ours(name)).collect::<Vec<_>>()
    );
    for name in &names {
        assert_eq!(server.get_token(name).await.state(), State::Revoked);
    }
}

async fn all_credentials_of_a_string_are_found(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (first, second) = (
        server.token(token_in(&acme)).await,
        server.token(token_in(&other)).await,
    );
    let misspelled = first.secret.to_lowercase();
    let key = server.admin_key();
    let text = format!(
        "{misspelled}\nA={key}\nB={}\nC={}{}\n",
        first.secret, second.secret, first.secret
    );
    let answer = revoke_leaked(&server, vec![leak("junk"), leak(&text)]).await;
    let [junk, found] = answer.results.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(*junk, foreign());
    assert_eq!(
        (found.label(), found.kind()),
        (Label::TruePositive, Kind::CallerKey),
        "the first credential in the text"
    );
    assert!(found.caller_key.starts_with("callers/admin/keys/"), "{found:?}");
    assert_eq!(
        found.others,
        [token_of_ours(&first.public.name), token_of_ours(&second.public.name)],
        "each token once"
    );
    for (secret, workspace) in [(&first.secret, &acme), (&second.secret, &other)] {
        assert_eq!(
            denied(&server, question(secret, workspace, &[])).await,
            DenyReason::Revoked
        );
    }
}

async fn a_repeated_secret_is_revoked_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await.len();
    let second = Leak {
        url: "https://gist.example/2".to_owned(),
        source: String::new(),
        ..leak(&token.secret)
    };
    let with_space = Leak {
        secret: format!(" {} ", token.secret),
        ..leak("")
    };
    let answer = revoke_leaked(&server, vec![leak(&token.secret), second, leak("junk"), with_space]).await;
    let ours = token_of_ours(&token.public.name);
    assert_eq!(answer.results, [ours.clone(), ours.clone(), foreign(), ours]);
    let all = records.all().await;
    assert_eq!(all.len(), before + 1, "the token is revoked once");
    let detail = &records.of("acme").await.pop().expect("the chain has a record").detail;
    assert_eq!(
        detail,
        "reported as leaked: source gist, at https://gist.example/1; at https://gist.example/2"
    );
}

async fn a_leaked_caller_key_is_recorded_and_logged(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let mut records = Records::of_installation(&installation).await;
    let answer = try_as_intake(&server, vec![leak(&gateway.secret), leak(&token.secret), leak("junk")])
        .await
        .expect("RevokeLeakedTokens succeeds");
    let (label, kind) = (Label::TruePositive.into(), Kind::CallerKey.into());
    let key = Found {
        label,
        kind,
        caller_key: gateway.public.clone(),
        ..Default::default()
    };
    assert_eq!(answer.results, [key, token_of_ours(&token.public.name), foreign()]);

    let record = records.of("-").await.pop().expect("the chain has a record");
    assert_eq!(
        [record.kind, record.resource, record.caller],
        ["caller_key.leaked", &gateway.public, "callers/leak-intake"]
    );
    assert_eq!(
        record.detail,
        "reported as leaked: source gist, at https://gist.example/1"
    );
    let metrics = http::get(server.ops_address(), "/metrics").1;
    for kind in ["caller_key", "workspace_token", "foreign"] {
        let line = format!("tokend_leaked_secrets_total{{kind=\"{kind}\"}} 1");
        assert!(metrics.lines().any(|known| known == line), "no {line} in {metrics}");
    }
    // A leaked caller key is not revoked, because that would stop a service.
    server
        .client(&gateway.secret)
        .await
        .token_verify()
        .verify(question("", &acme, &[]))
        .await
        .expect("the key still works");
    let log = server.stop().await.stderr;
    let line = log
        .lines()
        .find(|line| line.contains("a caller key was reported as leaked"))
        .unwrap_or_else(|| panic!("in {log}"));
    assert!(line.contains("ERROR") && line.contains(&gateway.public), "{line}");
    assert!(
        installation
            .run_on_data(["audit", "verify"])
            .await
            .succeeded()
            .contains("chains"),
        "the audit log is intact"
    );
}

async fn a_thousand_leaks_in_several_workspaces_are_processed(installation: Installation) {
    let server = installation.start().await;
    let mut tokens = Vec::new();
    for id in ["acme", "globex", "initech"] {
        let workspace = server.workspace(id).await;
        // The tokens of `globex` need more than one write.
        let count = if id == "globex" { 60 } else { 2 };
        for _ in 0..count {
            tokens.push((server.token(token_in(&workspace)).await, workspace.clone()));
        }
    }
    let mut leaks: Vec<_> = tokens.iter().map(|(token, _)| leak(&token.secret)).collect();
    leaks.resize_with(1_000, || Leak {
        url: "u".repeat(800),
        ..leak("junk")
    });
    let answer = revoke_leaked(&server, leaks).await;
    let expected: Vec<_> = tokens
        .iter()
        .map(|(token, _)| token_of_ours(&token.public.name))
        .collect();
    assert_eq!(answer.results[..expected.len()], expected);
    assert!(
        answer.results[expected.len()..]
            .iter()
            .all(|result| *result == foreign())
    );
    assert_eq!(answer.results.len(), 1_000);
    let mut last = None;
    for (token, workspace) in &tokens {
        let verdict = server.verdict(question(&token.secret, workspace, &[])).await;
        assert_eq!(verdict.deny_reason(), DenyReason::Revoked);
        last = verdict.revision;
    }
    assert_eq!(
        last, answer.revision,
        "the response has the revision of the last change"
    );
}

//! The client commands for many tokens: bulk revocation, leak reports, and the list of tokens that expire soon.

use tokend_client::v1::{CreateTokenRequest, DenyReason, Role};
use tokend_tests::{Finished, Installation, Issued, Process, Server, after, on_both_databases, question, token_in};

on_both_databases!(
    tokens_that_match_a_filter_are_previewed_and_revoked,
    a_large_revocation_takes_several_calls_and_reports_progress,
    leaked_strings_are_reported_by_line,
    expiring_tokens_are_listed_by_expiry,
);

pub(crate) const REPORT: [&str; 6] = [
    "token",
    "report-leaks",
    "--source",
    "scanner",
    "--url",
    "https://example.org/1",
];

pub(crate) async fn tokend(installation: &Installation, server: &Server, arguments: &[&str], input: &str) -> Finished {
    tokend_as(installation, server, server.admin_key(), arguments, input).await
}

pub(crate) async fn tokend_as(
    installation: &Installation,
    server: &Server,
    key: &str,
    arguments: &[&str],
    input: &(impl AsRef<[u8]> + ?Sized),
) -> Finished {
    let mut command = installation.command(arguments.iter().copied());
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, input).finish().await
}

pub(crate) async fn revoke_matching(
    installation: &Installation,
    server: &Server,
    filter: &str,
    more: &[&str],
) -> Finished {
    let arguments = [
        &[
            "token",
            "revoke",
            "--workspace",
            "acme",
            "--reason",
            "the project is gone",
            "--filter",
            filter,
        ],
        more,
    ];
    tokend(installation, server, &arguments.concat(), "").await
}

fn of_team(workspace: &str, team: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..token_in(workspace)
    }
}

pub(crate) async fn is_revoked(server: &Server, workspace: &str, secret: &str) -> bool {
    server.verdict(question(secret, workspace, &[])).await.deny_reason() == DenyReason::Revoked
}

async fn tokens_that_match_a_filter_are_previewed_and_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (web, app) = (
        server.token(of_team(&acme, "web")).await,
        server.token(of_team(&acme, "app")).await,
    );
    let name = web.public.name.as_str();
    let shown = revoke_matching(&installation, &server, "labels.team = web", &["--dry-run"]).await;
    assert!(
        shown.stderr.contains("This would revoke 1 token. Nothing was revoked."),
        "{shown:#?}"
    );
    let table = shown.succeeded();
    assert!(
        table.contains(name) && table.contains("ACTIVE") && !table.contains(&app.public.name),
        "{table}"
    );
    assert!(!is_revoked(&server, &acme, &web.secret).await);

    let revoked = revoke_matching(&installation, &server, "labels.team = web", &["-o", "json"]).await;
    assert_eq!(revoked.stderr, "Revoked 1 token.\n");
    let response: serde_json::Value = serde_json::from_str(&revoked.succeeded()).expect("the output is JSON");
    assert_eq!(
        (&response["revoked_count"], &response["remaining_count"]),
        (&1.into(), &0.into()),
        "{response}"
    );
    assert_eq!(
        (&response["tokens"][0]["name"], &response["tokens"][0]["state"]),
        (&name.into(), &"STATE_REVOKED".into()),
        "{response}"
    );
    assert!(response["revision"].is_object(), "{response}");
    assert!(is_revoked(&server, &acme, &web.secret).await && !is_revoked(&server, &acme, &app.secret).await);

    let again = revoke_matching(&installation, &server, "labels.team = web", &[]).await;
    assert!(again.stderr.contains("Revoked 0 tokens."), "{again:#?}");
    assert_eq!(again.succeeded(), "");
}

async fn a_large_revocation_takes_several_calls_and_reports_progress(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (mut admin, request) = (server.admin().token_admin(), token_in(&acme));
        tasks.push(tokio::spawn(async move {
            for _ in 0..126 {
                admin.create_token(request.clone()).await.expect("CreateToken succeeds");
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task does not panic");
    }
    let shown = revoke_matching(&installation, &server, "state = ACTIVE", &["--dry-run"]).await;
    assert!(
        shown.stderr.starts_with("This would revoke 1008 tokens; the first "),
        "{}",
        shown.stderr
    );
    let revoked = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
    let lines: Vec<_> = revoked.stderr.lines().collect();
    assert_eq!(lines[0], "1000 tokens revoked so far, 8 left");
    assert!(
        lines.len() == 2 && lines[1].starts_with("Revoked 1008 tokens; the first "),
        "{lines:?}"
    );
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

async fn leaked_strings_are_reported_by_line(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (alive, dead) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&dead.public.name).await;
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let junk = "nothing of ours\n".repeat(1_000);
    let found = format!("{junk}\n  {} \r\n{}\n{}", alive.secret, dead.secret, intake.secret);
    let report = async |more: &[&str]| {
        tokend_as(
            &installation,
            &server,
            &intake.secret,
            &[&REPORT[..], more].concat(),
            &found,
        )
        .await
    };
    let reported = report(&[]).await;
    assert!(
        reported.stderr.contains("1000 strings checked so far"),
        "{}",
        reported.stderr
    );
    assert!(
        reported.stderr.contains("Caller keys are not revoked"),
        "{}",
        reported.stderr
    );
    for Issued { secret, .. } in [&alive, &dead] {
        assert!(!reported.stdout.contains(&secret[24..]) && !reported.stderr.contains(&secret[24..]));
    }
    let table = reported.succeeded();
    let found_rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .skip(1_001)
        .collect();
    let (alive_name, dead_name) = (alive.public.name.as_str(), dead.public.name.as_str());
    assert_eq!(table.lines().nth(1_000), Some("1000  FALSE_POSITIVE"));
    assert_eq!(
        found_rows,
        [
            ["1002", "TRUE_POSITIVE", "WORKSPACE_TOKEN", alive_name],
            ["1003", "TRUE_POSITIVE", "WORKSPACE_TOKEN", dead_name],
            ["1004", "TRUE_POSITIVE", "CALLER_KEY", &intake.public],
        ]
    );
    assert!(is_revoked(&server, &acme, &alive.secret).await);
    let reason = server.get_token(alive_name).await.revoke_reason;
    assert!(
        reason.contains("scanner") && reason.contains("https://example.org/1"),
        "{reason}"
    );

    let response: serde_json::Value =
        serde_json::from_str(&report(&["-o", "json"]).await.succeeded()).expect("the output is JSON");
    let results = response["results"].as_array().expect("the value is a list");
    assert_eq!(
        (results.len(), &results[1_000]["line"], &results[1_000]["token"]),
        (1_003, &1_002.into(), &alive_name.into())
    );
    assert_eq!(results[1_000]["label"], "LABEL_TRUE_POSITIVE");
}

async fn expiring_tokens_are_listed_by_expiry(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let day = std::time::Duration::from_secs(86_400);
    let token_for = async |days: u32, team: &str| {
        let request = CreateTokenRequest {
            expiry: after(day * days),
            ..of_team(&acme, team)
        };
        server.token(request).await.public.name
    };
    let (in_10, in_20, in_60) = (
        token_for(10, "web").await,
        token_for(20, "web").await,
        token_for(60, "web").await,
    );
    let (of_others, revoked) = (token_for(5, "app").await, token_for(1, "web").await);
    server.revoke(&revoked).await;
    let listed = async |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["token", "list", "--workspace", "acme"], arguments].concat();
        let table = tokend(&installation, &server, &arguments, "").await.succeeded();
        table
            .lines()
            .skip(1)
            .map(|line| line.split(' ').next().expect("the row has a name").to_owned())
            .collect()
    };
    assert_eq!(
        listed(&["--expiring", "30d"]).await,
        [of_others, in_10.clone(), in_20.clone()]
    );
    let of_web = [
        "--expiring",
        "30d",
        "--filter",
        "labels.team = web OR labels.team = nobody",
    ];
    assert_eq!(listed(&of_web).await, [in_10, in_20.clone()]);
    installation.clock().set_ahead(15 * day);
    assert_eq!(listed(&["--expiring", "30d"]).await, [in_20]);
    installation.clock().set_ahead(31 * day);
    assert_eq!(listed(&["--expiring", "30d"]).await, [in_60]);
}

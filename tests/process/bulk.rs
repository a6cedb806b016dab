//! The client's commands about many tokens: bulk revocation, leaks, and what ends soon.

use std::{io::Read, net::TcpListener};

use tokend_client::v1::{CreateTokenRequest, DenyReason, Role};
use tokend_tests::{Finished, Installation, Issued, Process, Server, after, on_both_databases, on_sqlite, question, token_in};

on_both_databases!(
    what_a_filter_is_true_of_is_shown_first_and_then_revoked,
    calls_are_repeated_and_tell_how_far_they_are,
    leaked_strings_are_told_by_their_lines,
    what_ends_soon_is_listed_in_that_order,
);

mod anywhere {
    use super::*;

    on_sqlite!(
        names_of_several_workspaces_are_revoked_at_once,
        a_failure_in_between_tells_how_far_it_came,
        what_is_refused_tells_no_more_than_that,
        an_interruption_tells_how_far_it_came,
        a_caller_that_may_not_report_leaks_is_told_so,
        a_text_without_a_token_is_no_success,
        tokens_are_found_in_text_of_any_encoding,
    );

    async fn names_of_several_workspaces_are_revoked_at_once(installation: Installation) {
        let server = installation.start().await;
        let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
        let (first, second) = (server.token(token_in(&acme)).await, server.token(token_in(&other)).await);
        let names = [first.public.name.as_str(), &second.public.name, &first.public.name];
        let run = async |more: &[&str]| {
            let arguments = [&["token", "revoke", "--reason", "the project is gone"], &names[..], more].concat();
            tokend(&installation, &server, &arguments, "").await
        };
        let shown = run(&["--dry-run"]).await;
        assert!(shown.stderr.contains("would revoke 2 tokens. Nothing was revoked."), "{shown:#?}");
        assert_eq!(server.get_token(&first.public.name).await, first.public);
        let revoked = run(&[]).await;
        assert!(revoked.stderr.contains("Revoked 2 tokens."), "{revoked:#?}");
        let table = revoked.succeeded();
        assert!(names.iter().all(|name| table.contains(name)) && table.matches("REVOKED").count() == 2, "{table}");
        for name in names {
            assert_eq!(server.get_token(name).await.revoke_reason, "the project is gone");
        }
        assert!(run(&[]).await.stderr.contains("Revoked 0 tokens."), "repeating is safe");
    }

    async fn a_failure_in_between_tells_how_far_it_came(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let (_, beside) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
        installation
            .sql("UPDATE tokens SET display_name = 'edited' WHERE create_time = (SELECT min(create_time) FROM tokens)")
            .await;
        let failed = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
        assert_eq!((failed.code(), failed.stdout.as_str()), (1, ""), "{failed:#?}");
        assert!(failed.stderr.contains("\n1 token revoked so far, 1 left, and perhaps"), "{failed:#?}");
        assert!(failed.stderr.contains("error: a fault of the service"), "{failed:#?}");
        assert!(is_revoked(&server, &acme, &beside.secret).await);
        installation.sql("UPDATE tokens SET display_name = 'ci'").await;
        let rest = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
        assert!(rest.stderr.contains("Revoked 1 token."), "the same command goes on: {rest:#?}");
    }

    async fn what_is_refused_tells_no_more_than_that(installation: Installation) {
        let server = installation.start().await;
        server.workspace("acme").await;
        let sentence = revoke_matching(&installation, &server, "state is ACTIVE", &[]).await.failed_with_a_sentence();
        assert!(sentence.contains("at character 7"), "{sentence}");
        revoke_matching(&installation, &server, "", &[]).await.failed_with_a_sentence();
    }

    /// A server that never answers: once it has the call, whoever makes it waits.
    async fn an_interruption_tells_how_far_it_came(installation: Installation) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let reason = "interrupted in the middle";
        let filter = ["token", "revoke", "--workspace", "acme", "--filter", "state = ACTIVE", "--address", &address];
        let mut command = installation.command(filter.into_iter().chain(["--reason", reason]));
        command.env("TOKEND_CALLER_KEY", "tkdc_key");
        let process = Process::spawn(command, "");
        let (mut connection, _) = listener.accept().expect("a connection");
        let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
        while !sent.windows(reason.len()).any(|part| part == reason.as_bytes()) {
            let length = connection.read(&mut buffer).expect("it can be read");
            assert!(length > 0, "the call is made");
            sent.extend_from_slice(&buffer[..length]);
        }
        process.interrupt();
        let finished = process.finish().await;
        assert_eq!((finished.code(), finished.stdout.as_str()), (1, ""), "{finished:#?}");
        let told: Vec<_> = finished.stderr.lines().collect();
        assert!(told[0].starts_with("0 tokens revoked so far, and perhaps some more"), "{finished:#?}");
        assert_eq!(told[1..], ["error: interrupted"], "{finished:#?}");
    }

    async fn a_caller_that_may_not_report_leaks_is_told_so(installation: Installation) {
        let server = installation.start().await;
        let auditor = server.caller("auditor", Role::Auditor).await;
        let reported = tokend_as(&installation, &server, &auditor.secret, &REPORT, "a string\n").await;
        assert_eq!((reported.code(), reported.stdout.as_str()), (4, ""), "{reported:#?}");
        assert!(reported.stderr.contains("Lines 1 to 1 and those behind them"), "{reported:#?}");
        let nothing = tokend(&installation, &server, &REPORT, "\n \n").await;
        assert_eq!(nothing.code(), 1, "{nothing:#?}");
        assert!(nothing.stderr.contains("There are no strings on stdin."), "{nothing:#?}");
    }

    async fn a_text_without_a_token_is_no_success(installation: Installation) {
        let server = installation.start().await;
        let foreign = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        let none = tokend(&installation, &server, &REPORT, &format!("nothing\n\n{foreign}\n")).await;
        assert_eq!(none.code(), 1, "{none:#?}");
        assert!(none.stdout.contains("3     FALSE_POSITIVE"), "{none:#?}");
        assert!(none.stderr.contains("Lines read: 3. Tokens found: 0. Caller keys found: 0."), "{none:#?}");
        assert!(none.stderr.ends_with("error: no token or caller key of this installation was found\n"), "{none:#?}");
    }

    /// Writes a text in some encoding.
    type Encode<'a> = &'a dyn Fn(&str) -> Vec<u8>;

    async fn tokens_are_found_in_text_of_any_encoding(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let utf_16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let encodings: [Encode<'_>; 6] = [
            &|text| text.as_bytes().to_vec(),
            &|text| [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            &|text| [b"\xff\xfe", &*utf_16(text, u16::to_le_bytes)].concat(),
            &|text| [b"\xfe\xff", &*utf_16(text, u16::to_be_bytes)].concat(),
            &|text| utf_16(text, u16::to_le_bytes),
            &|text| text.chars().map(|char| u8::try_from(u32::from(char)).expect("Latin-1")).collect(),
        ];
        for encode in encodings {
            let [first, second, third] =
                [server.token(token_in(&acme)).await, server.token(token_in(&acme)).await, server.token(token_in(&acme)).await];
            let text = format!(
                "\u{e4} nothing\r\nGET /?token={}&page=2 HTTP/1.1\r\n\r\n{{\"a\": \"{}\", \"b\": \"{}\"}}\r\n",
                first.secret, second.secret, third.secret
            );
            let reported = tokend_as(&installation, &server, server.admin_key(), &REPORT, &encode(&text)).await;
            assert!(reported.stderr.contains("Lines read: 4. Tokens found: 3. Caller keys found: 0."), "{reported:#?}");
            let table = reported.succeeded();
            let shown: Vec<_> = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            let ours = |line: u8, name: &str| format!("{line} TRUE_POSITIVE WORKSPACE_TOKEN {name}");
            let [a, b, c] = [&first, &second, &third].map(|token| token.public.name.as_str());
            let expected = ["1 FALSE_POSITIVE".to_owned(), ours(2, a), ours(4, b), ours(4, c)];
            assert_eq!(shown, expected);
            for token in [&first, &second, &third] {
                assert!(is_revoked(&server, &acme, &token.secret).await);
            }
        }
    }
}

const REPORT: [&str; 6] = ["token", "report-leaks", "--source", "scanner", "--url", "https://example.org/1"];

async fn tokend(installation: &Installation, server: &Server, arguments: &[&str], input: &str) -> Finished {
    tokend_as(installation, server, server.admin_key(), arguments, input).await
}

async fn tokend_as(
    installation: &Installation,
    server: &Server,
    key: &str,
    arguments: &[&str],
    input: &(impl AsRef<[u8]> + ?Sized),
) -> Finished {
    let mut command = installation.command(arguments.iter().copied());
    command.env("TOKEND_ADDRESS", server.grpc_address()).env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, input).finish().await
}

async fn revoke_matching(installation: &Installation, server: &Server, filter: &str, more: &[&str]) -> Finished {
    let arguments = [&["token", "revoke", "--workspace", "acme", "--reason", "the project is gone", "--filter", filter], more];
    tokend(installation, server, &arguments.concat(), "").await
}

fn of_team(workspace: &str, team: &str) -> CreateTokenRequest {
    CreateTokenRequest { labels: [("team".to_owned(), team.to_owned())].into(), ..token_in(workspace) }
}

async fn is_revoked(server: &Server, workspace: &str, secret: &str) -> bool {
    server.verdict(question(secret, workspace, &[])).await.deny_reason() == DenyReason::Revoked
}

async fn what_a_filter_is_true_of_is_shown_first_and_then_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (web, app) = (server.token(of_team(&acme, "web")).await, server.token(of_team(&acme, "app")).await);
    let name = web.public.name.as_str();
    let shown = revoke_matching(&installation, &server, "labels.team = web", &["--dry-run"]).await;
    assert!(shown.stderr.contains("This would revoke 1 token. Nothing was revoked."), "{shown:#?}");
    let table = shown.succeeded();
    assert!(table.contains(name) && table.contains("ACTIVE") && !table.contains(&app.public.name), "{table}");
    assert!(!is_revoked(&server, &acme, &web.secret).await);

    let revoked = revoke_matching(&installation, &server, "labels.team = web", &["-o", "json"]).await;
    assert_eq!(revoked.stderr, "Revoked 1 token.\n");
    let told: serde_json::Value = serde_json::from_str(&revoked.succeeded()).expect("JSON");
    assert_eq!((&told["revoked_count"], &told["remaining_count"]), (&1.into(), &0.into()), "{told}");
    assert_eq!((&told["tokens"][0]["name"], &told["tokens"][0]["state"]), (&name.into(), &"STATE_REVOKED".into()), "{told}");
    assert!(told["revision"].is_object(), "{told}");
    assert!(is_revoked(&server, &acme, &web.secret).await && !is_revoked(&server, &acme, &app.secret).await);

    let again = revoke_matching(&installation, &server, "labels.team = web", &[]).await;
    assert!(again.stderr.contains("Revoked 0 tokens."), "{again:#?}");
    assert_eq!(again.succeeded(), "");
}

async fn calls_are_repeated_and_tell_how_far_they_are(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut makers = Vec::new();
    for _ in 0..8 {
        let (mut admin, request) = (server.admin().token_admin(), token_in(&acme));
        makers.push(tokio::spawn(async move {
            for _ in 0..126 {
                admin.create_token(request.clone()).await.expect("a token is made");
            }
        }));
    }
    for maker in makers {
        maker.await.expect("it does not panic");
    }
    let shown = revoke_matching(&installation, &server, "state = ACTIVE", &["--dry-run"]).await;
    assert!(shown.stderr.starts_with("This would revoke 1008 tokens; the first "), "{}", shown.stderr);
    let revoked = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
    let told: Vec<_> = revoked.stderr.lines().collect();
    assert_eq!(told[0], "1000 tokens revoked so far, 8 left");
    assert!(told.len() == 2 && told[1].starts_with("Revoked 1008 tokens; the first "), "{told:?}");
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

async fn leaked_strings_are_told_by_their_lines(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (alive, dead) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&dead.public.name).await;
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let junk = "nothing of ours\n".repeat(1_000);
    let found = format!("{junk}\n  {} \r\n{}\n{}", alive.secret, dead.secret, intake.secret);
    let report =
        async |more: &[&str]| tokend_as(&installation, &server, &intake.secret, &[&REPORT[..], more].concat(), &found).await;
    let reported = report(&[]).await;
    assert!(reported.stderr.contains("1000 strings looked at so far"), "{}", reported.stderr);
    assert!(reported.stderr.contains("Caller keys among them: 1."), "{}", reported.stderr);
    for Issued { secret, .. } in [&alive, &dead] {
        assert!(!reported.stdout.contains(&secret[24..]) && !reported.stderr.contains(&secret[24..]));
    }
    let table = reported.succeeded();
    let ours: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).skip(1_001).collect();
    let (alive_name, dead_name) = (alive.public.name.as_str(), dead.public.name.as_str());
    assert_eq!(table.lines().nth(1_000), Some("1000  FALSE_POSITIVE"));
    assert_eq!(
        ours,
        [
            ["1002", "TRUE_POSITIVE", "WORKSPACE_TOKEN", alive_name],
            ["1003", "TRUE_POSITIVE", "WORKSPACE_TOKEN", dead_name],
            ["1004", "TRUE_POSITIVE", "CALLER_KEY", &intake.public],
        ]
    );
    assert!(is_revoked(&server, &acme, &alive.secret).await);
    let reason = server.get_token(alive_name).await.revoke_reason;
    assert!(reason.contains("scanner") && reason.contains("https://example.org/1"), "{reason}");

    let told: serde_json::Value = serde_json::from_str(&report(&["-o", "json"]).await.succeeded()).expect("JSON");
    let results = told["results"].as_array().expect("a list");
    assert_eq!((results.len(), &results[1_000]["line"], &results[1_000]["token"]), (1_003, &1_002.into(), &alive_name.into()));
    assert_eq!(results[1_000]["label"], "LABEL_TRUE_POSITIVE");
}

async fn what_ends_soon_is_listed_in_that_order(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let day = std::time::Duration::from_secs(86_400);
    let ending_after = async |days: u32, team: &str| {
        let request = CreateTokenRequest { expiry: after(day * days), ..of_team(&acme, team) };
        server.token(request).await.public.name
    };
    let (in_10, in_20, in_60) = (ending_after(10, "web").await, ending_after(20, "web").await, ending_after(60, "web").await);
    let (of_others, revoked) = (ending_after(5, "app").await, ending_after(1, "web").await);
    server.revoke(&revoked).await;
    let listed = async |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["token", "list", "--workspace", "acme"], arguments].concat();
        let table = tokend(&installation, &server, &arguments, "").await.succeeded();
        table.lines().skip(1).map(|line| line.split(' ').next().expect("a name").to_owned()).collect()
    };
    assert_eq!(listed(&["--expiring", "30d"]).await, [of_others, in_10.clone(), in_20.clone()]);
    let of_web = ["--expiring", "30d", "--filter", "labels.team = web OR labels.team = nobody"];
    assert_eq!(listed(&of_web).await, [in_10, in_20.clone()]);
    installation.clock().set_ahead(15 * day);
    assert_eq!(listed(&["--expiring", "30d"]).await, [in_20]);
    installation.clock().set_ahead(31 * day);
    assert_eq!(listed(&["--expiring", "30d"]).await, [in_60]);
}

//! The client commands for many tokens with refusals, interruptions and unusual input.

use std::{io::Read, net::TcpListener};

use tokend_client::v1::Role;
use tokend_tests::{Installation, Process, on_sqlite, token_in};

use crate::bulk::{REPORT, is_revoked, revoke_matching, tokend, tokend_as};

on_sqlite!(
    names_of_several_workspaces_are_revoked_at_once,
    a_failure_reports_the_progress_so_far,
    a_refused_filter_is_reported_without_progress,
    an_interruption_reports_the_progress_so_far,
    a_caller_without_the_role_cannot_report_leaks,
    a_text_without_a_token_is_an_error,
    tokens_are_found_in_text_of_any_encoding,
);

async fn names_of_several_workspaces_are_revoked_at_once(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (first, second) = (
        server.token(token_in(&acme)).await,
        server.token(token_in(&other)).await,
    );
    let names = [first.public.name.as_str(), &second.public.name, &first.public.name];
    let run = async |more: &[&str]| {
        let arguments = [
            &["token", "revoke", "--reason", "the project is gone"],
            &names[..],
            more,
        ]
        .concat();
        tokend(&installation, &server, &arguments, "").await
    };
    let shown = run(&["--dry-run"]).await;
    assert!(
        shown.stderr.contains("would revoke 2 tokens. Nothing was revoked."),
        "{shown:#?}"
    );
    assert_eq!(server.get_token(&first.public.name).await, first.public);
    let revoked = run(&[]).await;
    assert!(revoked.stderr.contains("Revoked 2 tokens."), "{revoked:#?}");
    let table = revoked.succeeded();
    assert!(
        names.iter().all(|name| table.contains(name)) && table.matches("REVOKED").count() == 2,
        "{table}"
    );
    for name in names {
        assert_eq!(server.get_token(name).await.revoke_reason, "the project is gone");
    }
    assert!(run(&[]).await.stderr.contains("Revoked 0 tokens."), "repeating is safe");
}

async fn a_failure_reports_the_progress_so_far(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (_, beside) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    installation
        .sql("UPDATE tokens SET display_name = 'edited' WHERE create_time = (SELECT min(create_time) FROM tokens)")
        .await;
    let failed = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
    assert_eq!((failed.code(), failed.stdout.as_str()), (1, ""), "{failed:#?}");
    assert!(
        failed.stderr.contains("\n1 token revoked so far, 1 left, and perhaps"),
        "{failed:#?}"
    );
    assert!(failed.stderr.contains("error: internal error"), "{failed:#?}");
    assert!(is_revoked(&server, &acme, &beside.secret).await);
    installation.sql("UPDATE tokens SET display_name = 'ci'").await;
    let rest = revoke_matching(&installation, &server, "state = ACTIVE", &[]).await;
    assert!(
        rest.stderr.contains("Revoked 1 token."),
        "the same command continues: {rest:#?}"
    );
}

async fn a_refused_filter_is_reported_without_progress(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let sentence = revoke_matching(&installation, &server, "state is ACTIVE", &[])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("at character 7"), "{sentence}");
    revoke_matching(&installation, &server, "", &[])
        .await
        .failed_with_a_sentence();
}

/// The server never responds, so the client waits after it has sent the call.
async fn an_interruption_reports_the_progress_so_far(installation: Installation) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener binds");
    let address = listener.local_addr().expect("the listener has an address").to_string();
    let reason = "interrupted in the middle";
    let filter = [
        "token",
        "revoke",
        "--workspace",
        "acme",
        "--filter",
        "state = ACTIVE",
        "--address",
        &address,
    ];
    let mut command = installation.command(filter.into_iter().chain(["--reason", reason]));
    command.env("TOKEND_CALLER_KEY", "tkdc_key");
    let process = Process::spawn(command, "");
    let (mut connection, _) = listener.accept().expect("a client connects");
    let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
    while !sent.windows(reason.len()).any(|part| part == reason.as_bytes()) {
        let length = connection.read(&mut buffer).expect("the connection is readable");
        assert!(length > 0, "the client sends the whole call");
        sent.extend_from_slice(&buffer[..length]);
    }
    process.interrupt();
    let finished = process.finish().await;
    assert_eq!((finished.code(), finished.stdout.as_str()), (1, ""), "{finished:#?}");
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert!(
        lines[0].starts_with("0 tokens revoked so far, and perhaps more"),
        "{finished:#?}"
    );
    assert_eq!(lines[1..], ["error: interrupted"], "{finished:#?}");
}

async fn a_caller_without_the_role_cannot_report_leaks(installation: Installation) {
    let server = installation.start().await;
    let auditor = server.caller("auditor", Role::Auditor).await;
    let reported = tokend_as(&installation, &server, &auditor.secret, &REPORT, "a string\n").await;
    assert_eq!((reported.code(), reported.stdout.as_str()), (4, ""), "{reported:#?}");
    assert!(reported.stderr.contains("Lines from 1 on"), "{reported:#?}");
    let nothing = tokend(&installation, &server, &REPORT, "\n \n").await;
    assert_eq!(nothing.code(), 1, "{nothing:#?}");
    assert!(
        nothing.stderr.contains("There are no strings on stdin."),
        "{nothing:#?}"
    );
}

async fn a_text_without_a_token_is_an_error(installation: Installation) {
    let server = installation.start().await;
    let foreign = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let none = tokend(&installation, &server, &REPORT, &format!("nothing\n\n{foreign}\n")).await;
    assert_eq!(none.code(), 1, "{none:#?}");
    assert!(none.stdout.contains("3     FALSE_POSITIVE"), "{none:#?}");
    assert!(
        none.stderr
            .contains("Lines read: 3. Tokens found: 0. Caller keys found: 0."),
        "{none:#?}"
    );
    assert!(
        none.stderr
            .ends_with("error: no token or caller key of this installation was found\n"),
        "{none:#?}"
    );
}

/// Encodes a text.
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
        &|text| {
            text.chars()
                .map(|char| u8::try_from(u32::from(char)).expect("Latin-1"))
                .collect()
        },
    ];
    for encode in encodings {
        let [first, second, third] = [
            server.token(token_in(&acme)).await,
            server.token(token_in(&acme)).await,
            server.token(token_in(&acme)).await,
        ];
        let text = format!(
            "\u{e4} nothing\r\nGET /?token={}&page=2 HTTP/1.1\r\n\r\n{{\"a\": \"{}\", \"b\": \"{}\"}}\r\n",
            first.secret, second.secret, third.secret
        );
        let reported = tokend_as(&installation, &server, server.admin_key(), &REPORT, &encode(&text)).await;
        assert!(
            reported
                .stderr
                .contains("Lines read: 4. Tokens found: 3. Caller keys found: 0."),
            "{reported:#?}"
        );
        let table = reported.succeeded();
        let shown: Vec<_> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let found = |line: u8, name: &str| format!("{line} TRUE_POSITIVE WORKSPACE_TOKEN {name}");
        let [a, b, c] = [&first, &second, &third].map(|token| token.public.name.as_str());
        let expected = ["1 FALSE_POSITIVE".to_owned(), found(2, a), found(4, b), found(4, c)];
        assert_eq!(shown, expected);
        for token in [&first, &second, &third] {
            assert!(is_revoked(&server, &acme, &token.secret).await);
        }
    }
}

//! The client commands over TLS.

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa};
use tokend_client::v1::{CreateCallerRequest, Role, Selection};
use tokend_tests::{Finished, Installation, Process, on_sqlite};

use crate::{
    authority::{Authority, Pair},
    files::Files,
};

on_sqlite!(
    flags_and_environment_set_the_ca_and_the_client_certificate,
    errors_name_the_problem,
    files_from_windows_are_accepted,
    a_certificate_that_is_a_ca_is_explained,
    a_plaintext_client_is_advised_to_use_https,
);

async fn run(command: Command) -> Finished {
    Process::spawn(command, "").finish().await
}

async fn flags_and_environment_set_the_ca_and_the_client_certificate(installation: Installation) {
    let authority = Authority::new();
    let files = Files::with_client_ca(&installation, &authority.server(), &authority);
    let server = files.serve(&installation, &authority.trusted()).await;
    server.workspace("acme").await;
    let auditor = CreateCallerRequest {
        caller_id: "auditor".to_owned(),
        role: Role::Auditor.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans: vec!["auditor.example.org".to_owned()],
    };
    server
        .admin()
        .caller_admin()
        .create_caller(auditor)
        .await
        .expect("CreateCaller succeeds");
    let certificate = authority.client(&["auditor.example.org"]);
    files.put("client.crt", &certificate.certificate);
    files.put("client.key", &certificate.key);
    let address = format!("https://{}", server.grpc_address());
    let list = || installation.command(["workspace", "list", "--address", &address]);

    let mut by_key = list();
    by_key
        .args(["--ca-file", &files.path("ca.crt")])
        .env("TOKEND_CALLER_KEY", server.admin_key());
    assert!(run(by_key).await.succeeded().contains("acme"));
    let mut by_certificate = list();
    by_certificate.args([
        "--ca-file",
        &files.path("ca.crt"),
        "--client-cert",
        &files.path("client.crt"),
    ]);
    by_certificate.args(["--client-key", &files.path("client.key")]);
    assert!(run(by_certificate).await.succeeded().contains("acme"));
    // The scheme is optional in the address.
    let mut by_environment = installation.command(["workspace", "list"]);
    by_environment.envs([
        ("TOKEND_ADDRESS", server.grpc_address()),
        ("TOKEND_CA_FILE", &files.path("ca.crt")),
        ("TOKEND_CLIENT_CERT", &files.path("client.crt")),
        ("TOKEND_CLIENT_KEY", &files.path("client.key")),
    ]);
    assert!(run(by_environment).await.succeeded().contains("acme"));
    let mut both = list();
    both.args([
        "--ca-file",
        &files.path("ca.crt"),
        "--client-cert",
        &files.path("client.crt"),
    ]);
    both.args(["--client-key", &files.path("client.key")])
        .env("TOKEND_CALLER_KEY", server.admin_key());
    let finished = run(both).await;
    assert_eq!(
        finished.code(),
        4,
        "the key and the certificate disagree: {finished:#?}"
    );
}

async fn errors_name_the_problem(installation: Installation) {
    let authority = Authority::new();
    let files = Files::with_client_ca(&installation, &authority.server(), &authority);
    let server = files.serve(&installation, &authority.trusted()).await;
    let (client, other) = (
        authority.client(&["a.example.org"]),
        authority.client(&["b.example.org"]),
    );
    for (name, text) in [
        ("client.crt", client.certificate.as_str()),
        ("client.key", &client.key),
        ("other.key", &other.key),
        ("other-ca.crt", Authority::new().pem()),
        ("garbage", "garbage"),
    ] {
        files.put(name, text);
    }
    let path = |name: &str| files.path(name);
    for (arguments, words) in [
        (vec![], vec!["not trusted"]),
        (vec!["--ca-file", "other-ca.crt"], vec!["not trusted"]),
        (vec!["--ca-file", "garbage"], vec!["garbage", "no CA certificate"]),
        (vec!["--ca-file", "absent"], vec!["absent", "No such file"]),
        (
            vec!["--ca-file", "ca.crt", "--client-cert", "client.crt"],
            vec!["--client-key"],
        ),
        (
            vec!["--ca-file", "ca.crt", "--client-key", "client.key"],
            vec!["--client-cert"],
        ),
        (
            vec![
                "--ca-file",
                "ca.crt",
                "--client-cert",
                "client.crt",
                "--client-key",
                "other.key",
            ],
            vec!["other.key", "does not belong"],
        ),
        (
            vec![
                "--ca-file",
                "ca.crt",
                "--client-cert",
                "client.crt",
                "--client-key",
                "garbage",
            ],
            vec!["garbage", "private key"],
        ),
        (
            vec![
                "--ca-file",
                "ca.crt",
                "--client-cert",
                "garbage",
                "--client-key",
                "client.key",
            ],
            vec!["garbage", "client certificate"],
        ),
    ] {
        let address = format!("https://{}", server.grpc_address());
        let mut list = installation.command(["workspace", "list", "--address", &address]);
        list.env("TOKEND_CALLER_KEY", server.admin_key());
        for argument in &arguments {
            list.arg(if argument.starts_with("--") {
                (*argument).to_owned()
            } else {
                path(argument)
            });
        }
        let sentence = run(list).await.failed_with_a_sentence();
        assert!(
            words.iter().all(|word| sentence.contains(word)),
            "{arguments:?}: {sentence}"
        );
    }
}

/// Returns the text with a byte order mark and CRLF line ends.
fn from_windows(text: &str) -> String {
    format!("\u{feff}{}", text.replace('\n', "\r\n"))
}

async fn files_from_windows_are_accepted(installation: Installation) {
    let authority = Authority::new();
    let Pair { certificate, key } = authority.server();
    let files = Files::new(
        &installation,
        &Pair {
            certificate: from_windows(&certificate),
            key: from_windows(&key),
        },
    );
    files.put("ca.crt", &from_windows(authority.pem()));
    let server = files.serve(&installation, &authority.trusted()).await;
    let client = authority.client(&["a.example.org"]);
    files.put("client.crt", &from_windows(&client.certificate));
    files.put("client.key", &from_windows(&client.key));
    files.put("admin.key", &from_windows(&format!("{}\n", server.admin_key())));
    let address = format!("https://{}", server.grpc_address());
    let mut by_key = installation.command(["workspace", "list", "--address", &address]);
    by_key.args([
        "--ca-file",
        &files.path("ca.crt"),
        "--caller-key-file",
        &files.path("admin.key"),
    ]);
    run(by_key).await.succeeded();
    let mut by_certificate = installation.command(["workspace", "list", "--address", &address]);
    by_certificate.args([
        "--ca-file",
        &files.path("ca.crt"),
        "--client-cert",
        &files.path("client.crt"),
    ]);
    by_certificate.args(["--client-key", &files.path("client.key")]);
    let finished = run(by_certificate).await;
    assert_eq!(
        finished.code(),
        4,
        "the certificate is valid, but no caller's: {finished:#?}"
    );
}

async fn a_certificate_that_is_a_ca_is_explained(installation: Installation) {
    let change = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = Authority::new();
    let files = Files::new(&installation, &authority.issue(&["localhost", "127.0.0.1"], change));
    files.put("trusted.crt", authority.pem());
    installation.init().await;
    let (process, address) = files.serve_bare(&installation, &["--listen", "127.0.0.1:0"]).await;
    assert!(
        process.stderr().contains("CA:FALSE") && process.stderr().contains("WARN"),
        "{}",
        process.stderr()
    );
    let mut list = installation.command(["workspace", "list", "--address", &format!("https://{address}")]);
    list.args(["--ca-file", &files.path("trusted.crt")])
        .env("TOKEND_CALLER_KEY", "key");
    let sentence = run(list).await.failed_with_a_sentence();
    assert!(
        sentence.contains("CA:TRUE") && sentence.contains("CA:FALSE"),
        "{sentence}"
    );
}

async fn a_plaintext_client_is_advised_to_use_https(installation: Installation) {
    let authority = Authority::new();
    let files = Files::new(&installation, &authority.server());
    let server = files.serve(&installation, &authority.trusted()).await;
    // The alert or the close of the connection may arrive first, so the test tries several times.
    for scheme in ["", "http://", "", "http://", ""] {
        let mut list = installation.command([
            "workspace",
            "list",
            "--address",
            &format!("{scheme}{}", server.grpc_address()),
        ]);
        list.env("TOKEND_CALLER_KEY", server.admin_key());
        let sentence = run(list).await.failed_with_a_sentence();
        assert!(sentence.contains("https://"), "{sentence}");
    }
}

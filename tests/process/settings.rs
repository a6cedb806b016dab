//! Flags override environment variables, variables override the configuration file, and the file overrides the
//! defaults.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, on_sqlite, token_in};

on_sqlite!(
    a_variable_overrides_the_file,
    a_flag_overrides_the_variable,
    an_empty_variable_counts_as_unset,
    files_from_windows_are_accepted,
);

/// Returns the variables that `serve --help` names, and whether each one's flag is a switch.
async fn variables(installation: &Installation) -> Vec<(String, bool)> {
    let help = Process::spawn(installation.command(["serve", "--help"]), "")
        .finish()
        .await
        .succeeded();
    let mut variables: Vec<(String, bool)> = Vec::new();
    let mut is_switch = false;
    for line in help.lines().map(str::trim) {
        if line.starts_with("--") {
            is_switch = line.contains("[=<BOOL>]");
        }
        if let Some((name, _)) = line
            .split_once("[env: ")
            .and_then(|(_, rest)| rest.split_once(['=', ']']))
        {
            variables.push((name.to_owned(), is_switch));
        }
    }
    assert!(
        variables.len() > 20 && variables.iter().filter(|(_, is_switch)| *is_switch).count() >= 4,
        "{variables:?}"
    );
    variables
}

/// Returns whether `serve` refuses plaintext off loopback. Otherwise `serve` fails later, because the key ring is
/// missing.
async fn refuses_plaintext(installation: &Installation, arguments: &[&str], variables: &[(&str, &str)]) -> bool {
    fs::write(
        installation.directory().join("settings.toml"),
        "insecure_plaintext = true\n",
    )
    .expect("the file is written");
    let mut serve = installation.command_on_data(["serve", "--config", "settings.toml"]);
    serve.args(["--listen", "0.0.0.0:0", "--ops-listen", "127.0.0.1:0"]);
    serve.args(arguments).envs(variables.iter().copied());
    let sentence = Process::spawn(serve, "").finish().await.failed_with_a_sentence();
    assert!(
        sentence.contains("--insecure-plaintext") || sentence.contains("keyring"),
        "{sentence}"
    );
    sentence.contains("--insecure-plaintext")
}

async fn a_variable_overrides_the_file(installation: Installation) {
    assert!(!refuses_plaintext(&installation, &[], &[]).await, "the file allows it");
    for no in ["false", "0", "no", "FALSE"] {
        assert!(
            refuses_plaintext(&installation, &[], &[("TOKEND_INSECURE_PLAINTEXT", no)]).await,
            "{no}"
        );
    }
    for yes in ["true", "1", "yes"] {
        assert!(
            !refuses_plaintext(&installation, &[], &[("TOKEND_INSECURE_PLAINTEXT", yes)]).await,
            "{yes}"
        );
    }
    for (name, is_switch) in variables(&installation).await {
        let mut serve = installation.command_on_data(["serve", "--log", "error"]);
        serve.args(SERVE_ON_FREE_PORTS).env(&name, "perhaps");
        let finished = Process::spawn(serve, "").finish().await;
        if is_switch {
            assert!(
                finished.code() == 2 && finished.stderr.contains("perhaps"),
                "{name}: {finished:#?}"
            );
        }
    }
}

async fn a_flag_overrides_the_variable(installation: Installation) {
    let no = [("TOKEND_INSECURE_PLAINTEXT", "no")];
    assert!(!refuses_plaintext(&installation, &["--insecure-plaintext"], &no).await);
    let yes = [("TOKEND_INSECURE_PLAINTEXT", "yes")];
    assert!(refuses_plaintext(&installation, &["--insecure-plaintext=false"], &yes).await);
}

async fn an_empty_variable_counts_as_unset(installation: Installation) {
    installation.init().await;
    let mut serve = installation.command_on_data(["serve", "--ready-file", "ready"]);
    serve.args(SERVE_ON_FREE_PORTS);
    for (name, _) in variables(&installation).await {
        serve.env(name, "");
    }
    let process = Process::spawn(serve, "");
    let ready = installation.directory().join("ready");
    tokend_tests::eventually("the server is ready", async || {
        assert!(!process.stderr().contains("error"), "{}", process.stderr());
        ready.exists().then_some(())
    })
    .await;
    let mut list = installation.command(["workspace", "list"]);
    for name in [
        "ADDRESS",
        "CA_FILE",
        "CLIENT_CERT",
        "CLIENT_KEY",
        "CALLER_KEY",
        "CALLER_KEY_FILE",
    ] {
        list.env(format!("TOKEND_{name}"), "");
    }
    let finished = Process::spawn(list, "").finish().await;
    assert!(
        finished.code() == 4 && finished.stderr.contains("no caller key"),
        "{finished:#?}"
    );
}

/// Returns a text in the encodings of Windows programs: with CRLF line ends and a byte order mark.
fn from_windows(text: &str) -> [Vec<u8>; 2] {
    let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [text.into_bytes(), utf_16]
}

async fn files_from_windows_are_accepted(installation: Installation) {
    let key = installation.init().await;
    let keyring = installation.data_dir().join("keyring");
    let [ring, settings] = [
        fs::read_to_string(&keyring).expect("the file is readable"),
        "reflection = true\n[webhook]\n".to_owned(),
    ];
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    let path = |name: &str| {
        installation
            .directory()
            .join(name)
            .to_str()
            .expect("the path is UTF-8")
            .to_owned()
    };
    for encoding in 0..2 {
        for (path, text) in [
            (keyring.to_str().expect("the path is UTF-8"), ring.as_str()),
            (&path("settings.toml"), &settings),
            (&path("secrets"), secret),
            (&path("admin.key"), &format!("{key}\n")),
        ] {
            fs::write(path, &from_windows(text)[encoding]).expect("the file is written");
        }
        fs::set_permissions(path("secrets"), Permissions::from_mode(0o600)).expect("the mode is set");
        let secrets = path("secrets");
        let webhook = [
            "--webhook-url",
            "https://127.0.0.1:9/",
            "--webhook-secret-file",
            &secrets,
        ];
        let settings = path("settings.toml");
        let arguments = [&["--config", &settings], &webhook[..]].concat();
        let server = installation.serve_with(&key, arguments).await;
        let key_file = path("admin.key");
        let list = [
            "workspace",
            "list",
            "--address",
            server.grpc_address(),
            "--caller-key-file",
            &key_file,
        ];
        Process::spawn(installation.command(list), "")
            .finish()
            .await
            .succeeded();
        let token = {
            server.workspace(&format!("acme-{encoding}")).await;
            server.token(token_in(&format!("workspaces/acme-{encoding}"))).await
        };
        let mut identify = installation.command(["token", "identify", "--address", server.grpc_address()]);
        identify.env("TOKEND_CALLER_KEY", format!("\u{feff}{key}\r\n"));
        let identified = Process::spawn(identify, &format!("\u{feff}{}\r\n", token.secret))
            .finish()
            .await
            .succeeded();
        assert!(identified.contains(&token.public.name), "{identified}");
    }
}

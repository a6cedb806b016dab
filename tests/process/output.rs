//! Commands whose output fails: the disk is full, the reader is gone, stdout is closed. No command panics, and none
//! reports success for a secret that was not written.

use std::{
    fs::{self, File},
    io::pipe,
    path::Path,
    process::{Command, Stdio},
};

use tokend_client::v1::{ListCallerKeysRequest, ListTokensRequest, caller_key};
use tokend_tests::{Finished, Installation, Process, SERVE_ON_FREE_PORTS, Server, on_sqlite, token_in};

on_sqlite!(
    an_admin_key_that_could_not_be_written_can_be_replaced,
    a_secret_that_could_not_be_written_is_named_with_its_remedy,
    without_a_stdout_no_secret_is_created,
    with_a_full_disk_no_secret_is_created,
    every_command_reports_that_it_could_not_write,
);

/// A stdout without free space.
pub(crate) fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("the device opens")
        .into()
}

/// A pipe whose reader is closed.
pub(crate) fn abandoned() -> Stdio {
    let (reader, writer) = pipe().expect("the pipe is created");
    drop(reader);
    writer.into()
}

/// Runs the program with this standard output.
pub(crate) async fn finish_onto(mut command: Command, stdout: Stdio) -> Finished {
    command.stdout(stdout).stderr(Stdio::piped());
    Process::spawn_onto(command, "").finish().await
}

/// Runs the program without a standard output.
async fn finish_closed(command: &Command) -> Finished {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" \"$@\" >&-"])
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(command.get_current_dir().expect("the command has a directory"));
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(variable, value),
            None => shell.env_remove(variable),
        };
    }
    shell.stdout(Stdio::null()).stderr(Stdio::piped());
    Process::spawn_onto(shell, "").finish().await
}

/// Returns the error message of a command that failed with exit code 1.
pub(crate) fn sentence(finished: &Finished) -> &str {
    assert_eq!(finished.code(), 1, "{finished:#?}");
    let sentence = finished
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap_or_else(|| panic!("{finished:#?}"));
    assert!(
        !sentence.contains("defect") && !sentence.contains("panic"),
        "{sentence}"
    );
    sentence
}

/// Returns the arguments of the command that `sentence` quotes and that begins with `start`.
fn quoted_command<'a>(sentence: &'a str, start: &str) -> Vec<&'a str> {
    let quoted = sentence.split('`').skip(1).step_by(2);
    let command = quoted.into_iter().find(|command| command.starts_with(start));
    command
        .unwrap_or_else(|| panic!("no `{start}` in: {sentence}"))
        .split(' ')
        .skip(1)
        .collect()
}

pub(crate) fn client(installation: &Installation, server: &Server, arguments: &[&str]) -> Command {
    let mut command = installation.command(arguments.iter().copied());
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", server.admin_key());
    command
}

async fn an_admin_key_that_could_not_be_written_can_be_replaced(installation: Installation) {
    for command in [&["init"][..], &["init", "--recover"]] {
        let finished = finish_onto(installation.command_on_data(command), full()).await;
        let sentence = sentence(&finished);
        assert!(sentence.contains("lost"), "{sentence}");
        let remedy = quoted_command(sentence, "tokend init --recover");
        let key = installation.run_on_data(remedy).await.succeeded();
        let server = installation.serve(key.trim()).await;
        let revoke = quoted_command(sentence, "tokend caller key revoke");
        Process::spawn(client(&installation, &server, &revoke), "")
            .finish()
            .await
            .succeeded();
        let list = ListCallerKeysRequest {
            parent: "callers/admin".to_owned(),
            ..Default::default()
        };
        let keys = server
            .admin()
            .caller_admin()
            .list_caller_keys(list)
            .await
            .expect("ListCallerKeys succeeds")
            .into_inner()
            .keys;
        let lost = keys
            .iter()
            .find(|key| key.name == revoke[3])
            .expect("the lost key is listed");
        assert_eq!(lost.state(), caller_key::State::Revoked);
    }
}

async fn a_secret_that_could_not_be_written_is_named_with_its_remedy(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let run = async |arguments: &[&str]| {
        Process::spawn(client(&installation, &server, arguments), "")
            .finish()
            .await
    };
    let create = [
        "token",
        "create",
        "--workspace",
        "acme",
        "--name",
        "ci",
        "--scope",
        "repository",
        "--ttl",
        "1d",
    ];
    for lost in [&create[..], &["token", "rotate", &old]] {
        let finished = finish_onto(client(&installation, &server, lost), full()).await;
        let sentence = sentence(&finished);
        let rotate = quoted_command(sentence, "tokend token rotate");
        assert!(sentence.contains(&format!("{} was created", rotate[2])), "{sentence}");
        assert!(
            run(&rotate).await.succeeded().starts_with("tkdw_"),
            "the suggested command works"
        );
        run(&quoted_command(sentence, "tokend token revoke")).await.succeeded();
    }
    let finished = finish_onto(
        client(&installation, &server, &["caller", "key", "create", "admin"]),
        full(),
    )
    .await;
    let sentence = sentence(&finished);
    run(&quoted_command(sentence, "tokend caller key revoke"))
        .await
        .succeeded();
    assert!(
        run(&quoted_command(sentence, "tokend caller key create"))
            .await
            .succeeded()
            .starts_with("tkdc_"),
        "the suggested command works"
    );
}

async fn without_a_stdout_no_secret_is_created(installation: Installation) {
    let finished = finish_closed(&installation.command_on_data(["init"])).await;
    assert!(sentence(&finished).contains("closed"), "{finished:#?}");
    assert!(!installation.data_dir().exists(), "nothing is created");

    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public;
    let create = [
        "token",
        "create",
        "--workspace",
        "acme",
        "--name",
        "ci",
        "--scope",
        "repository",
        "--ttl",
        "1d",
    ];
    for command in [
        &create[..],
        &["token", "rotate", &token.name],
        &["caller", "key", "create", "admin"],
    ] {
        let finished = finish_closed(&client(&installation, &server, command)).await;
        assert!(sentence(&finished).contains("closed"), "{finished:#?}");
        let finished = finish_onto(client(&installation, &server, command), abandoned()).await;
        assert!(sentence(&finished).contains("reader"), "{finished:#?}");
        let read_only = File::open("/dev/null").expect("the device opens");
        let finished = finish_onto(client(&installation, &server, command), read_only.into()).await;
        assert!(sentence(&finished).contains("reading only"), "{finished:#?}");
    }
    let list = ListTokensRequest {
        parent: acme,
        ..Default::default()
    };
    let tokens = server
        .admin()
        .token_admin()
        .list_tokens(list)
        .await
        .expect("ListTokens succeeds")
        .into_inner()
        .tokens;
    assert_eq!(tokens, [token]);
    let list = ListCallerKeysRequest {
        parent: "callers/admin".to_owned(),
        ..Default::default()
    };
    let keys = server
        .admin()
        .caller_admin()
        .list_caller_keys(list)
        .await
        .expect("ListCallerKeys succeeds")
        .into_inner()
        .keys;
    assert_eq!(keys.len(), 1);

    // The user chooses where the secret goes, `> /dev/null` included.
    finish_onto(client(&installation, &server, &create), Stdio::null())
        .await
        .succeeded();
}

/// A small file system, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Returns `None` if this process may not mount.
    fn mounted(directory: &'a Path) -> Option<Self> {
        fs::create_dir(directory).expect("the directory is created");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(directory)
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then_some(Self(directory))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0).status();
    }
}

async fn with_a_full_disk_no_secret_is_created(installation: Installation) {
    let directory = installation.directory().join("small");
    let Some(disk) = SmallDisk::mounted(&directory) else {
        return skipped();
    };
    let key_file = File::create(disk.0.join("key")).expect("the file is created");
    let filler = fs::write(disk.0.join("filler"), vec![0; 128 * 1024]);
    assert!(filler.is_err(), "the disk is full");
    let finished = finish_onto(installation.command_on_data(["init"]), key_file.into()).await;
    assert!(sentence(&finished).contains("nothing was created"), "{finished:#?}");
    assert!(!installation.data_dir().exists());
    fs::remove_file(disk.0.join("filler")).expect("the file is removed");
    let key_file = File::create(disk.0.join("key")).expect("the file is created");
    finish_onto(installation.command_on_data(["init"]), key_file.into())
        .await
        .succeeded();
    assert_eq!(
        fs::read(disk.0.join("key")).expect("the file is readable").len(),
        75,
        "the file has only the key and a line end"
    );
}

#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
fn skipped() {
    eprintln!("SKIPPED: this process may not mount a file system");
}

async fn every_command_reports_that_it_could_not_write(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    server.token(token_in(&acme)).await;
    for (command, done) in [
        (&["--help"][..], ""),
        (&["--version"], ""),
        (&["completion", "bash"], ""),
        (&["workspace", "list"], ""),
        (&["workspace", "list", "-o", "json"], ""),
        (&["workspace", "get", "acme"], ""),
        (&["token", "list", "--workspace", "acme"], ""),
        (&["token", "get", &token], ""),
        (&["caller", "list"], ""),
        (&["caller", "key", "list", "admin"], ""),
        (&["policy", "get", "acme"], ""),
        (&["scopes", "list"], ""),
        (&["audit", "list"], ""),
        (&["audit", "watch"], ""),
        (&["audit", "export"], ""),
        (&["audit", "export", "--filter", "outcome = DONE"], ""),
        (&["verify", "--resource", "workspaces/acme"], ""),
        // An empty list writes nothing, so each list has an entry.
        (
            &["organization", "create", "initech"],
            "organizations/initech is created, but",
        ),
        (&["organization", "list"], ""),
        (&["workspace", "create", "globex"], "workspaces/globex is created, but"),
        (
            &["workspace", "suspend", "globex"],
            "workspaces/globex is suspended, but",
        ),
        (&["workspace", "resume", "globex"], "workspaces/globex is resumed, but"),
        (&["workspace", "delete", "globex"], "workspaces/globex is deleted, but"),
        (&["policy", "update", "acme", "--require-expiry"], "is updated, but"),
        (&["policy", "list"], ""),
        (&["token", "revoke", &token], "is revoked, but"),
        (
            &["token", "revoke", "--workspace", "acme", "--filter", "state = ACTIVE"],
            "are revoked, but",
        ),
        (
            &["caller", "create", "gate", "--role", "verifier", "--all-workspaces"],
            "callers/gate is created, but",
        ),
        (&["caller", "delete", "gate"], "callers/gate is deleted, but"),
    ] {
        let finished = finish_onto(client(&installation, &server, command), full()).await;
        assert!(
            sentence(&finished).contains("stdout") && sentence(&finished).contains(done),
            "{command:?}: {finished:#?}"
        );
    }
    for (command, done) in [
        (&["migrate", "status"][..], ""),
        (&["migrate", "up"], "up to date, but"),
        (&["keyring", "status"], ""),
        (&["keyring", "add"], "is added, but"),
        (&["audit", "verify"], ""),
        (&["export-revocations"], ""),
    ] {
        let finished = finish_onto(installation.command_on_data(command), full()).await;
        assert!(
            sentence(&finished).contains("stdout") && sentence(&finished).contains(done),
            "{command:?}: {finished:#?}"
        );
    }
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS);
    assert!(sentence(&finish_onto(dev, full()).await).contains("stdout"));
}

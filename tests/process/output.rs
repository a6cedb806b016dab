//! What a command prints may not arrive: the disk is full, the reader has gone, stdout is closed. No command panics over it, and none
//! reports success for a secret that nobody has.

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
    onto_a_full_disk_no_secret_is_created,
    every_command_says_that_it_could_not_write,
    a_reader_that_has_gone_is_no_error,
    a_watch_ends_with_its_reader,
    no_command_minds_a_stderr_that_is_full,
);

/// A place for stdout where nothing more fits.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("it is there").into()
}

/// A pipe whose reader has gone.
fn abandoned() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// The program with a standard output of this kind.
async fn finish_onto(mut command: Command, stdout: Stdio) -> Finished {
    command.stdout(stdout).stderr(Stdio::piped());
    Process::spawn_onto(command, "").finish().await
}

/// The program without a standard output.
async fn finish_closed(command: &Command) -> Finished {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().expect("every installation has one"));
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(variable, value),
            None => shell.env_remove(variable),
        };
    }
    shell.stdout(Stdio::null()).stderr(Stdio::piped());
    Process::spawn_onto(shell, "").finish().await
}

/// The sentence of a command that has failed with exit code 1.
fn sentence(finished: &Finished) -> &str {
    assert_eq!(finished.code(), 1, "{finished:#?}");
    let sentence = finished.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{finished:#?}"));
    assert!(!sentence.contains("defect") && !sentence.contains("panic"), "{sentence}");
    sentence
}

/// The command that `sentence` quotes and that begins with `start`, as its arguments.
fn quoted_command<'a>(sentence: &'a str, start: &str) -> Vec<&'a str> {
    let quoted = sentence.split('`').skip(1).step_by(2);
    let command = quoted.into_iter().find(|command| command.starts_with(start));
    command.unwrap_or_else(|| panic!("no `{start}` in: {sentence}")).split(' ').skip(1).collect()
}

fn client(installation: &Installation, server: &Server, arguments: &[&str]) -> Command {
    let mut command = installation.command(arguments.iter().copied());
    command.env("TOKEND_ADDRESS", server.grpc_address()).env("TOKEND_CALLER_KEY", server.admin_key());
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
        Process::spawn(client(&installation, &server, &revoke), "").finish().await.succeeded();
        let list = ListCallerKeysRequest { parent: "callers/admin".to_owned(), ..Default::default() };
        let keys = server.admin().caller_admin().list_caller_keys(list).await.expect("a list").into_inner().keys;
        let lost = keys.iter().find(|key| key.name == revoke[3]).expect("the lost one");
        assert_eq!(lost.state(), caller_key::State::Revoked);
    }
}

async fn a_secret_that_could_not_be_written_is_named_with_its_remedy(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let run = async |arguments: &[&str]| Process::spawn(client(&installation, &server, arguments), "").finish().await;
    let create = ["token", "create", "--workspace", "acme", "--name", "ci", "--scope", "repository", "--ttl", "1d"];
    for lost in [&create[..], &["token", "rotate", &old]] {
        let finished = finish_onto(client(&installation, &server, lost), full()).await;
        let sentence = sentence(&finished);
        let rotate = quoted_command(sentence, "tokend token rotate");
        assert!(sentence.contains(&format!("{} was created", rotate[2])), "{sentence}");
        assert!(run(&rotate).await.succeeded().starts_with("tkdw_"), "the remedy works");
        run(&quoted_command(sentence, "tokend token revoke")).await.succeeded();
    }
    let finished = finish_onto(client(&installation, &server, &["caller", "key", "create", "admin"]), full()).await;
    let sentence = sentence(&finished);
    run(&quoted_command(sentence, "tokend caller key revoke")).await.succeeded();
    assert!(run(&quoted_command(sentence, "tokend caller key create")).await.succeeded().starts_with("tkdc_"), "the remedy works");
}

async fn without_a_stdout_no_secret_is_created(installation: Installation) {
    let finished = finish_closed(&installation.command_on_data(["init"])).await;
    assert!(sentence(&finished).contains("closed"), "{finished:#?}");
    assert!(!installation.data_dir().exists(), "nothing was created");

    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public;
    let create = ["token", "create", "--workspace", "acme", "--name", "ci", "--scope", "repository", "--ttl", "1d"];
    for command in [&create[..], &["token", "rotate", &token.name], &["caller", "key", "create", "admin"]] {
        let finished = finish_closed(&client(&installation, &server, command)).await;
        assert!(sentence(&finished).contains("closed"), "{finished:#?}");
        let finished = finish_onto(client(&installation, &server, command), abandoned()).await;
        assert!(sentence(&finished).contains("reader"), "{finished:#?}");
        let read_only = File::open("/dev/null").expect("it is there");
        let finished = finish_onto(client(&installation, &server, command), read_only.into()).await;
        assert!(sentence(&finished).contains("reading only"), "{finished:#?}");
    }
    let list = ListTokensRequest { parent: acme, ..Default::default() };
    let tokens = server.admin().token_admin().list_tokens(list).await.expect("a list").into_inner().tokens;
    assert_eq!(tokens, [token]);
    let list = ListCallerKeysRequest { parent: "callers/admin".to_owned(), ..Default::default() };
    let keys = server.admin().caller_admin().list_caller_keys(list).await.expect("a list").into_inner().keys;
    assert_eq!(keys.len(), 1);

    // Where the secret goes is the caller's choice, `> /dev/null` included.
    finish_onto(client(&installation, &server, &create), Stdio::null()).await.succeeded();
}

/// A file system of its own, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// None where this process may not mount.
    fn mounted(directory: &'a Path) -> Option<Self> {
        fs::create_dir(directory).expect("it can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(directory))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0).status();
    }
}

async fn onto_a_full_disk_no_secret_is_created(installation: Installation) {
    let directory = installation.directory().join("small");
    let Some(disk) = SmallDisk::mounted(&directory) else { return skipped() };
    let key_file = File::create(disk.0.join("key")).expect("it can be made");
    let filler = fs::write(disk.0.join("filler"), vec![0; 128 * 1024]);
    assert!(filler.is_err(), "the disk is full");
    let finished = finish_onto(installation.command_on_data(["init"]), key_file.into()).await;
    assert!(sentence(&finished).contains("nothing was created"), "{finished:#?}");
    assert!(!installation.data_dir().exists());
    fs::remove_file(disk.0.join("filler")).expect("it is there");
    let key_file = File::create(disk.0.join("key")).expect("it can be made");
    finish_onto(installation.command_on_data(["init"]), key_file.into()).await.succeeded();
    assert_eq!(fs::read(disk.0.join("key")).expect("it can be read").len(), 75, "the key and the end of its line, nothing else");
}

#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
fn skipped() {
    eprintln!("SKIPPED: this process may not mount a file system");
}

async fn every_command_says_that_it_could_not_write(installation: Installation) {
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
        // An empty list writes nothing, so each is asked for once there is something in it.
        (&["organization", "create", "initech"], "organizations/initech is created, but"),
        (&["organization", "list"], ""),
        (&["workspace", "create", "globex"], "workspaces/globex is created, but"),
        (&["workspace", "suspend", "globex"], "workspaces/globex is suspended, but"),
        (&["workspace", "resume", "globex"], "workspaces/globex is resumed, but"),
        (&["workspace", "delete", "globex"], "workspaces/globex is deleted, but"),
        (&["policy", "update", "acme", "--require-expiry"], "is updated, but"),
        (&["policy", "list"], ""),
        (&["token", "revoke", &token], "is revoked, but"),
        (&["token", "revoke", "--workspace", "acme", "--filter", "state = ACTIVE"], "are revoked, but"),
        (&["caller", "create", "gate", "--role", "verifier", "--all-workspaces"], "callers/gate is created, but"),
        (&["caller", "delete", "gate"], "callers/gate is deleted, but"),
    ] {
        let finished = finish_onto(client(&installation, &server, command), full()).await;
        assert!(sentence(&finished).contains("stdout") && sentence(&finished).contains(done), "{command:?}: {finished:#?}");
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
        assert!(sentence(&finished).contains("stdout") && sentence(&finished).contains(done), "{command:?}: {finished:#?}");
    }
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS);
    assert!(sentence(&finish_onto(dev, full()).await).contains("stdout"));
}

async fn a_reader_that_has_gone_is_no_error(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    for command in [
        &["--help"][..],
        &["completion", "zsh"],
        &["workspace", "list"],
        &["token", "list", "--workspace", "acme", "-o", "json"],
        &["audit", "list"],
        &["audit", "export"],
        &["scopes", "list"],
    ] {
        let finished = finish_onto(client(&installation, &server, command), abandoned()).await;
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""), "{command:?}");
    }
    // The exit code still tells the verdict.
    for (scope, code) in [("repository", 0), ("webhook", 3)] {
        let mut verify = client(&installation, &server, &["verify", "--resource", "workspaces/acme", "--scope", scope]);
        verify.stdout(abandoned()).stderr(Stdio::piped());
        assert_eq!(Process::spawn_onto(verify, &token.secret).finish().await.code(), code);
    }
    // A part of an export must not be taken for all of it.
    server.revoke(&token.public.name).await;
    let finished = finish_onto(installation.command_on_data(["export-revocations"]), abandoned()).await;
    assert!(sentence(&finished).contains("stdout"), "{finished:#?}");
}

async fn a_watch_ends_with_its_reader(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let finished = finish_onto(client(&installation, &server, &["audit", "watch"]), abandoned()).await;
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
}

async fn no_command_minds_a_stderr_that_is_full(installation: Installation) {
    let run = async |arguments: &[&str], code: i32| {
        let mut command = installation.command_on_data(arguments.iter().copied());
        command.stdout(Stdio::piped()).stderr(full());
        let finished = Process::spawn_onto(command, "").finish().await;
        assert_eq!(finished.code(), code, "{arguments:?}: {finished:#?}");
        finished.stdout
    };
    let key = run(&["init"], 0).await;
    run(&["init"], 1).await;
    run(&["init", "--nothing"], 2).await;
    let key_of_recovery = run(&["init", "--recover"], 0).await;
    assert!(key.starts_with("tkdc_") && key_of_recovery.starts_with("tkdc_"));

    let mut serve = installation.command_on_data(["serve", "--log", "trace", "--ready-file", "ready"]);
    serve.args(SERVE_ON_FREE_PORTS).stdout(Stdio::piped()).stderr(full());
    let process = Process::spawn_onto(serve, "");
    let ready = installation.directory().join("ready");
    tokend_tests::eventually("it serves", async || ready.exists().then_some(())).await;
    process.terminate();
    assert!(process.finish().await.status.success());
}

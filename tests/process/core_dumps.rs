//! A crash leaves no core dump, which would hold every secret that the process had in memory.

use std::{fs, os::unix::process::ExitStatusExt, process::Command};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokend_tests::{Finished, Installation, Process, SERVE_ON_FREE_PORTS, eventually, on_sqlite};

on_sqlite!(
    a_crashed_server_leaves_no_core_dump,
    a_raised_limit_enables_no_core_dump
);

/// Runs a program in the installation's directory, with core dumps enabled.
fn spawn_dumpable(installation: &Installation, command: &Command) -> Process {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(installation.directory());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Process::spawn(shell, "")
}

async fn serve_dumpable(installation: &Installation) -> Process {
    installation.init().await;
    let ready = installation.directory().join("ready");
    let mut serve = installation.command_on_data(["serve"]);
    serve.args(SERVE_ON_FREE_PORTS).arg("--ready-file").arg(&ready);
    let process = spawn_dumpable(installation, &serve);
    eventually("the ready file exists", async || ready.exists().then_some(())).await;
    process
}

fn assert_no_dump(installation: &Installation, finished: &Finished) {
    assert!(finished.status.signal().is_some(), "the server crashes: {finished:#?}");
    assert!(!finished.status.core_dumped(), "{finished:#?}");
    for entry in fs::read_dir(installation.directory())
        .expect("the directory is readable")
        .flatten()
    {
        assert!(!entry.file_name().to_string_lossy().starts_with("core"), "{entry:?}");
    }
}

async fn a_crashed_server_leaves_no_core_dump(installation: Installation) {
    let process = serve_dumpable(&installation).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("the process has limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("the limit is listed");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    process.abort();
    assert_no_dump(&installation, &process.finish().await);
}

/// A raised limit stands for systems that pipe dumps to a collector, where no limit applies.
async fn a_raised_limit_enables_no_core_dump(installation: Installation) {
    let process = serve_dumpable(&installation).await;
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("the process ID is valid"));
    // Only root can raise the limit.
    let _ = prlimit(
        pid,
        Resource::Core,
        Rlimit {
            current: None,
            maximum: None,
        },
    );
    process.abort();
    assert_no_dump(&installation, &process.finish().await);
}

//! Runs a command whose tests share one PostgreSQL server: `with-postgres COMMAND [ARGUMENT...]`.
//!
//! `cargo test` runs the tests of a binary in one process, which starts one server for all of them. cargo-nextest runs
//! each test in a separate process. Without this program, each process would start a server.

use std::{
    env,
    io::{self, Write},
    process::{Command, ExitCode},
};

use tokend_test_support::postgres;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // The message is lost if stderr is closed.
            let _ = writeln!(io::stderr(), "with-postgres: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or(io::Error::other("give a command to run"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    // Without a server, each test prints that it did not run.
    if let Some(url) = postgres::server_url() {
        command.env(postgres::SERVER_URL, url);
    }
    // The server stops with this process.
    let status = command.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

//! The one binary, `tokend`.

use std::process::ExitCode;

use tokend_core::time::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tokend_cli::run(Clock::system())
}

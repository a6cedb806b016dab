//! The command `tokend-bench`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tokend_bench::{
    BoxError, batch, bulk_revocation, floor, guard, instructions, load, memory, page_cost, promise, scale, verify,
};

/// The allocator of `tokend`, so that the floors have it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of tokend.
#[derive(Debug, Parser)]
#[command(name = "tokend-bench")]
enum Command {
    Verify(verify::Args),
    Batch(batch::Args),
    Guard(guard::Args),
    Instructions(instructions::Args),
    Memory(memory::Args),
    Load(load::Args),
    Scale(scale::Args),
    Promise(promise::Args),
    PageCost(page_cost::Args),
    BulkRevocation(bulk_revocation::Args),
    #[command(hide = true)]
    Floor(floor::Args),
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), BoxError> {
    // The load runs on this one thread. A floor chooses a runtime of its own.
    let on_this_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match command {
        Command::Verify(args) => on_this_thread()?.block_on(verify::run(args)),
        Command::Batch(args) => on_this_thread()?.block_on(batch::run(args)),
        Command::Guard(args) => on_this_thread()?.block_on(guard::run(args)),
        Command::Instructions(args) => on_this_thread()?.block_on(instructions::run(args)),
        Command::Memory(args) => on_this_thread()?.block_on(memory::run(args)),
        Command::Load(args) => on_this_thread()?.block_on(load::run(args)),
        Command::Scale(args) => on_this_thread()?.block_on(scale::run(args)),
        Command::Promise(args) => on_this_thread()?.block_on(promise::run(args)),
        Command::PageCost(args) => on_this_thread()?.block_on(page_cost::run(args)),
        Command::BulkRevocation(args) => on_this_thread()?.block_on(bulk_revocation::run(args)),
        Command::Floor(args) => floor::run(args),
    }
}

//! Keeps secrets from leaving with a crash: no core dump, and no panic that tells what it held.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Prepares the process for handling secrets. To be called before there are any.
///
/// # Errors
/// One sentence for the operator, if the system refuses: then no secret must be touched.
pub(crate) fn prepare() -> Result<(), String> {
    tokend_server::panics::report_without_payload();
    forbid_core_dumps().map_err(|error| format!("can't turn core dumps off, and one would hold secrets: {error}"))
}

/// A core dump is a copy of the memory, secrets and all, that lies around until somebody finds it.
///
/// The limit alone would not do: Linux ignores it where dumps are piped to a collector. A process that is not dumpable is dumped
/// nowhere, and other processes of the same user can neither trace it nor read its memory.
fn forbid_core_dumps() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

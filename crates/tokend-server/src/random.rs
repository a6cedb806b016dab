//! The operating system's random source, used here alone.

use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "the one place where randomness enters")]
use rand::rngs::SysRng;
use rand::{TryRng, rngs::SysError};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Kid, Kind, Minted, Prefix},
    keyring::{AddKeyError, KeyRing, KnownKey, RootKeys},
    webhook,
};
use tokend_store::NewInstallation;

/// Makes a credential of `kind`.
///
/// # Errors
/// The source failed; nothing was made.
pub fn mint(ring: &KeyRing, kind: Kind) -> Result<Minted, SysError> {
    ring.mint(kind, &mut SysRng)
}

/// Makes the root of a first key.
///
/// # Errors
/// The source failed; nothing was made.
pub fn generate_roots(prefix: Prefix) -> Result<RootKeys, SysError> {
    RootKeys::generate(prefix, &mut SysRng)
}

/// These keys and a new one, and which that is.
///
/// # Errors
/// The source failed, or all ids are used; nothing was made.
pub fn with_new_key(roots: &RootKeys, known: &[KnownKey]) -> Result<(RootKeys, Kid), AddKeyError<SysError>> {
    roots.with_new_key(known, &mut SysRng)
}

/// Names another epoch.
///
/// # Errors
/// The source failed.
pub fn epoch() -> Result<u64, SysError> {
    SysRng.try_next_u64()
}

/// How long to wait after a try to send a message has failed; where the source fails, too, the longest that it may be.
pub(crate) fn pause_after(attempt: u64, wanted: Option<Duration>) -> Duration {
    webhook::pause_after(attempt, wanted, &mut SysRng).unwrap_or_else(|_| webhook::longest_pause_after(attempt))
}

/// What a new installation starts with.
///
/// # Errors
/// The source failed; nothing was made.
pub fn new_installation(caller: Caller, key: CallerKey) -> Result<NewInstallation, SysError> {
    NewInstallation::new(caller, key, &mut SysRng)
}

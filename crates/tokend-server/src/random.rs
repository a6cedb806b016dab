//! The operating system's random source. No other module uses it.

use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "the one place where randomness enters")]
use rand::rngs::SysRng;
use rand::{TryRng, rngs::SysError};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Kid, Kind, Minted, Prefix},
    keyring::{AddKeyError, KeyRing, KnownKey, RootKeys},
    lease::Terms,
    webhook,
};
use tokend_store::NewInstallation;

/// Mints a credential of `kind`.
///
/// # Errors
/// The random source failed.
pub fn mint(ring: &KeyRing, kind: Kind) -> Result<Minted, SysError> {
    ring.mint(kind, &mut SysRng)
}

/// Creates a key ring with one key.
///
/// # Errors
/// The random source failed.
pub fn generate_roots(prefix: Prefix) -> Result<RootKeys, SysError> {
    RootKeys::generate(prefix, &mut SysRng)
}

/// Returns these keys with a new one, and the new one's id.
///
/// # Errors
/// The random source failed, or all ids are used.
pub fn with_new_key(roots: &RootKeys, known: &[KnownKey]) -> Result<(RootKeys, Kid), AddKeyError<SysError>> {
    roots.with_new_key(known, &mut SysRng)
}

/// Returns a random epoch.
///
/// # Errors
/// The random source failed.
pub fn epoch() -> Result<u64, SysError> {
    SysRng.try_next_u64()
}

/// Returns the pause after a failed attempt to send a message, with jitter. If the random source fails, it is the
/// longest pause.
pub(crate) fn pause_after(attempt: u64, wanted: Option<Duration>) -> Duration {
    webhook::pause_after(attempt, wanted, &mut SysRng).unwrap_or_else(|_| webhook::longest_pause_after(attempt))
}

/// Returns the first contents of a new installation. `terms` say how long leases last.
///
/// # Errors
/// The random source failed.
pub fn new_installation(caller: Caller, key: CallerKey, terms: Terms) -> Result<NewInstallation, SysError> {
    NewInstallation::new(caller, key, terms, &mut SysRng)
}

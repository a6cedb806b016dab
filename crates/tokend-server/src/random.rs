//! The operating system's random source, used here alone.

use rand::rngs::SysError;
#[expect(clippy::disallowed_types, reason = "the one place where randomness enters")]
use rand::rngs::SysRng;
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Kind, Minted, Prefix},
    keyring::KeyRing,
};
use tokend_store::NewInstallation;

/// Makes a credential of `kind`.
///
/// # Errors
/// The source failed; nothing was made.
pub fn mint(ring: &KeyRing, kind: Kind) -> Result<Minted, SysError> {
    ring.mint(kind, &mut SysRng)
}

/// Makes a key ring of one key.
///
/// # Errors
/// The source failed; nothing was made.
pub fn generate_ring(prefix: Prefix) -> Result<KeyRing, SysError> {
    KeyRing::generate(prefix, &mut SysRng)
}

/// What a new installation starts with.
///
/// # Errors
/// The source failed; nothing was made.
pub fn new_installation(caller: Caller, key: CallerKey) -> Result<NewInstallation, SysError> {
    NewInstallation::new(caller, key, &mut SysRng)
}

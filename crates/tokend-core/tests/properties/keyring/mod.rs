//! The key ring: its file, fingerprints, and what its keys may do.

mod file;
mod states;

use tokend_core::{
    credential::Kid,
    keyring::{Fingerprint, KeyRingFileError, KeyState, KnownKey, RootKeys},
};

use crate::samples::{ROOT, roots_of};

const THIRD_ROOT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn fingerprints(roots: &RootKeys) -> Vec<(Kid, Fingerprint)> {
    roots.fingerprints().collect()
}

/// Key `0` with [`ROOT`] and the default prefix.
fn roots() -> RootKeys {
    roots_of("tkd", &[("0", ROOT)])
}

fn error(text: &str) -> KeyRingFileError {
    RootKeys::from_toml(text).expect_err("no key ring")
}

/// The keys of the database for these roots, with the given states.
fn known(roots: &RootKeys, states: &[(&str, KeyState)]) -> Vec<KnownKey> {
    let state = |kid: Kid| {
        states
            .iter()
            .find(|(named, _)| *named == kid.to_string())
            .map(|(_, state)| *state)
    };
    roots
        .fingerprints()
        .filter_map(|(kid, fingerprint)| {
            Some(KnownKey {
                kid,
                fingerprint,
                state: state(kid)?,
            })
        })
        .collect()
}

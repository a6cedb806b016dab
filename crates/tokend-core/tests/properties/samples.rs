//! Shared samples: predictable random sources, a key ring, and a row of each table.

use std::{collections::BTreeMap, io};

use proptest::prelude::*;
use rand::{TryCryptoRng, TryRng};
use tokend_core::{
    address::{AllowedAddresses, Networks, parse_network},
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    credential::{CredentialId, Kid, Kind, Minted, Prefix, SecretDigest},
    keyring::{KeyRing, RootKeys},
    labels::Labels,
    name::{CallerKeyName, TokenName, WorkspaceId},
    organization::Organization,
    policy::{Deadlines, PolicyState},
    resource::Resource,
    scope::{GrantedScopes, ScopeName},
    text::{Description, DisplayName, Reason},
    time::Timestamp,
    token::{Expiry, Revocation, Token, TokenContext},
    workspace::{Workspace, WorkspaceState},
};

/// The root `000102...1f` of the sample ring's one key.
pub(crate) const ROOT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Another root.
pub(crate) const OTHER_ROOT: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// Returns these bytes in order, and fails when they are used up.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl TryRng for Script<'_> {
    type Error = io::Error;

    fn try_next_u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> io::Result<()> {
        io::Read::read_exact(&mut self.0, dst)
    }
}

impl TryCryptoRng for Script<'_> {}

/// Mints from 36 bytes that depend on `seed`: the same seed gives the same credential.
pub(crate) fn mint(ring: &KeyRing, kind: Kind, seed: u64) -> Minted {
    let mut bytes = [0; 36];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    ring.mint(kind, &mut Script(&bytes)).expect("36 bytes are enough")
}

/// The text form of a ring with these keys.
pub(crate) fn ring_text(prefix: &str, keys: &[(&str, &str)]) -> String {
    let keys: String = keys
        .iter()
        .map(|(kid, root)| format!("[[keys]]\nkid = \"{kid}\"\nroot = \"{root}\"\nretired = false\n"))
        .collect();
    format!("version = 2\nprefix = \"{prefix}\"\n{keys}")
}

pub(crate) fn roots_of(prefix: &str, keys: &[(&str, &str)]) -> RootKeys {
    RootKeys::from_toml(&ring_text(prefix, keys)).expect("well-formed")
}

/// A ring with these keys, the first of them active.
pub(crate) fn ring_of(prefix: &str, keys: &[(&str, &str)]) -> KeyRing {
    let roots = roots_of(prefix, keys);
    roots.ring(&roots.initial_keys()).expect("its own keys")
}

/// Key `0` with [`ROOT`] and the default prefix.
pub(crate) fn ring() -> KeyRing {
    ring_of("tkd", &[("0", ROOT)])
}

pub(crate) fn kid(digit: u8) -> Kid {
    Kid::from_digit(digit).expect("a digit")
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

pub(crate) fn resource(text: &str) -> Resource {
    Resource::new(text.to_owned()).expect("well-formed")
}

pub(crate) fn names(texts: &[&str]) -> Vec<ScopeName> {
    texts.iter().map(|text| text.parse().expect("well-formed")).collect()
}

pub(crate) fn workspace_ids(texts: &[&str]) -> WorkspaceAccess {
    WorkspaceAccess::Only(texts.iter().map(|text| text.parse().expect("well-formed")).collect())
}

pub(crate) fn only(networks: &[&str]) -> AllowedAddresses {
    let networks = networks
        .iter()
        .map(|text| parse_network(text).expect("well-formed"))
        .collect();
    AllowedAddresses::Only(Networks::new(networks).expect("1 to 64"))
}

/// The id `a0a1...ab`.
pub(crate) fn id() -> CredentialId {
    CredentialId::from_bytes(std::array::from_fn(|index| 0xa0 + index as u8))
}

/// A token with something in every field.
pub(crate) fn token() -> Token {
    Token {
        name: TokenName {
            workspace: "acme".parse().expect("well-formed"),
            id: id(),
        },
        digest: SecretDigest::from_stored(kid(b'0'), [0x11; 32]),
        resource: resource("workspaces/acme/projects/web"),
        display_name: DisplayName::new("deploy".to_owned()).expect("well-formed"),
        description: Description::new("pushes the site".to_owned()).expect("well-formed"),
        scopes: GrantedScopes::from_stored(
            1,
            names(&["repository:write"]),
            names(&["repository", "repository:write"]),
        )
        .expect("well-formed"),
        allowed_addresses: only(&["192.0.2.0/24", "2001:db8::/32"]),
        labels: Labels::new(BTreeMap::from([("team".to_owned(), "web".to_owned())])).expect("well-formed"),
        create_time: at(1_700_000_000_000_000),
        creator: "ci".parse().expect("well-formed"),
        own_expiry: Expiry::At(at(1_800_000_000_000_000)),
        requested_expiry: Expiry::At(at(1_900_000_000_000_000)),
        revocation: Some(revocation()),
        rotated_from: Some(CredentialId::from_bytes([0xf0; CredentialId::BYTES])),
        rotated_to: Some(CredentialId::from_bytes([0x0f; CredentialId::BYTES])),
    }
}

pub(crate) fn revocation() -> Revocation {
    Revocation {
        at: at(1_750_000_000_000_000),
        by: "ops".parse().expect("well-formed"),
        reason: Reason::new("leaked".to_owned()).expect("well-formed"),
    }
}

/// The token's workspace, with something in every field.
pub(crate) fn workspace() -> Workspace {
    Workspace {
        id: "acme".parse().expect("well-formed"),
        display_name: DisplayName::new("Acme".to_owned()).expect("well-formed"),
        organization: Some("initech".parse().expect("well-formed")),
        state: WorkspaceState::Suspended {
            at: at(1_750_000_000_000_000),
        },
        create_time: at(1_700_000_000_000_000),
        policy: policy_state(),
    }
}

/// A policy that was applied twice.
pub(crate) fn policy_state() -> PolicyState {
    PolicyState {
        text: r#"{"max_lifetime":3600000000,"applied":true}"#.to_owned(),
        update_time: Some(at(1_720_000_000_000_000)),
        deadlines: "1710000000000000:1715000000000000 1720000000000000:1720003600000000"
            .parse()
            .expect("well-formed"),
    }
}

/// The token's context, with its workspace in this state and without a policy.
pub(crate) fn token_context(state: WorkspaceState) -> TokenContext {
    TokenContext {
        workspace: workspace_id("acme"),
        state,
        deadlines: Deadlines::default(),
    }
}

/// An organization.
pub(crate) fn organization() -> Organization {
    Organization {
        id: "initech".parse().expect("well-formed"),
        display_name: DisplayName::new("Initech".to_owned()).expect("well-formed"),
        create_time: at(1_700_000_000_000_000),
        policy: policy_state(),
    }
}

/// A caller with something in every field.
pub(crate) fn caller() -> Caller {
    Caller {
        id: "ci".parse().expect("well-formed"),
        role: Role::Verifier,
        workspaces: workspace_ids(&["acme", "beta"]),
        certificate_sans: vec!["spiffe://initech.example/ci".parse().expect("a name")],
        create_time: at(1_700_000_000_000_000),
    }
}

/// A caller key with something in every field.
pub(crate) fn caller_key() -> CallerKey {
    CallerKey {
        name: CallerKeyName {
            caller: "ci".parse().expect("well-formed"),
            id: id(),
        },
        digest: SecretDigest::from_stored(kid(b'0'), [0x11; 32]),
        create_time: at(1_700_000_000_000_000),
        expire_time: at(1_800_000_000_000_000),
        revoke_time: Some(at(1_750_000_000_000_000)),
    }
}

/// Any valid prefix.
pub(crate) fn prefixes() -> impl Strategy<Value = Prefix> {
    "[a-z0-9]{3,12}".prop_map(|text| text.parse().expect("well-formed"))
}

pub(crate) fn workspace_id(text: &str) -> WorkspaceId {
    text.parse().expect("well-formed")
}

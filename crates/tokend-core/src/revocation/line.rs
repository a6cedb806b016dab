//! The line of a record: JSON with a MAC, and the checks on reading it.

use serde::{Deserialize, Serialize};

use super::{Place, RevocationRecord, text::RevocationText};
use crate::{
    credential::Kid, keyring::KeyRing, policy::PolicyState, row_mac::MacInput, token::Revocation,
    workspace::WorkspaceState,
};

/// Why a line of the revocations file is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationLineError {
    /// The line is not JSON, or has other fields.
    #[error("it is not a line that tokend wrote")]
    Malformed,
    /// A later version of tokend wrote the line.
    #[error("it was written by a later version of tokend")]
    Later,
    /// The line names a key that the key ring does not have.
    #[error("it was sealed with key {0}, which the key ring does not have")]
    MissingKey(Kid),
    /// The MAC does not match: the line was edited.
    #[error("it was changed after tokend had written it")]
    Tampered,
}

const VERSION: u32 = 1;
const TABLE: &str = "endings";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u32,
    epoch: u64,
    position: u64,
    ending: RevocationText,
    kid: String,
    mac: String,
}

/// The version is read first, so that fields which a later version added do not hide that the line is newer.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl KeyRing {
    /// Returns the line for a record, without a line break. It contains no secret.
    #[must_use]
    pub fn write_revocation(&self, place: Place, record: &RevocationRecord) -> String {
        let kid = self.active_kid();
        // The ring always has its active key.
        let mac = self
            .revocation_mac(kid, place, record)
            .unwrap_or(blake3::Hash::from_bytes([0; blake3::OUT_LEN]));
        let line = Line {
            version: VERSION,
            epoch: place.epoch,
            position: place.position,
            ending: RevocationText::of(record),
            kid: kid.to_string(),
            mac: mac.to_hex().to_string(),
        };
        // Serializing numbers and text can't fail.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Parses a line and checks its MAC. Lines that were sealed with a key that is retired now are accepted.
    ///
    /// # Errors
    /// [`RevocationLineError`].
    pub fn read_revocation(&self, line: &str) -> Result<(Place, RevocationRecord), RevocationLineError> {
        let Versioned { version } = serde_json::from_str(line).map_err(|_| RevocationLineError::Malformed)?;
        if version != VERSION {
            return Err(RevocationLineError::Later);
        }
        let Line {
            version: _,
            epoch,
            position,
            ending,
            kid,
            mac,
        } = serde_json::from_str(line).map_err(|_| RevocationLineError::Malformed)?;
        let (place, record) = (
            Place { epoch, position },
            ending.into_record().ok_or(RevocationLineError::Malformed)?,
        );
        let kid: Kid = kid.parse().map_err(|_| RevocationLineError::Malformed)?;
        let mac = blake3::Hash::from_hex(&mac).map_err(|_| RevocationLineError::Malformed)?;
        match self.revocation_mac(kid, place, &record) {
            None => Err(RevocationLineError::MissingKey(kid)),
            Some(ours) if ours == mac => Ok((place, record)),
            Some(_) => Err(RevocationLineError::Tampered),
        }
    }

    fn revocation_mac(&self, kid: Kid, place: Place, record: &RevocationRecord) -> Option<blake3::Hash> {
        let mut input = MacInput::new(self.revocation_key(kid)?, TABLE, 1);
        input.bytes(&place.epoch.to_le_bytes());
        input.bytes(&place.position.to_le_bytes());
        match record {
            RevocationRecord::Token {
                name,
                revocation: Revocation { at, by, reason },
            } => {
                input.text("token");
                input.text(&name.to_string());
                input.time(*at);
                input.text(by.as_str());
                input.text(reason.as_str());
            }
            RevocationRecord::Workspace { id, create_time, state } => {
                let (state, at) = match *state {
                    WorkspaceState::Active => ("workspace resumed", None),
                    WorkspaceState::Suspended { at } => ("workspace suspended", Some(at)),
                    WorkspaceState::Deleted { at } => ("workspace deleted", Some(at)),
                };
                input.text(state);
                input.text(id.as_str());
                input.time(*create_time);
                input.optional(at, MacInput::time);
            }
            RevocationRecord::TokenRotated { name, end } => {
                input.text("token rotated");
                input.text(&name.to_string());
                input.time(*end);
            }
            RevocationRecord::Policy {
                name,
                create_time,
                state:
                    PolicyState {
                        text,
                        update_time,
                        deadlines,
                    },
            } => {
                input.text("policy");
                input.text(&name.to_string());
                input.time(*create_time);
                input.text(text);
                input.optional(*update_time, MacInput::time);
                input.text(&deadlines.to_string());
            }
            RevocationRecord::Caller { id, create_time, at } => {
                input.text("caller");
                input.text(id.as_str());
                input.time(*create_time);
                input.time(*at);
            }
            RevocationRecord::CallerKey { name, at } => {
                input.text("caller key");
                input.text(&name.to_string());
                input.time(*at);
            }
        }
        Some(input.finish().0)
    }
}

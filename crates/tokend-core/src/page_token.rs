//! Page tokens: where the next page of a list starts (AIP-158). They are opaque and tamper-proof.
//!
//! A page token contains the position in the list and a MAC over the position and the list request. It works for the
//! same caller, parent and filter only, and can't be forged.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use crate::{credential::Kid, keyring::KeyRing};

/// The size of the MAC, in bytes.
const MAC_BYTES: usize = 16;

/// The list request that a page token belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The caller.
    pub caller: &'a str,
    /// The list: the RPC's name.
    pub list: &'a str,
    /// The parent; empty for lists without one.
    pub parent: &'a str,
    /// The filter; may be empty.
    pub filter: &'a str,
}

/// The text is not a page token for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the next_page_token of the previous page, from a call by the same caller with the same parent and filter"
)]
pub struct InvalidPageToken;

impl KeyRing {
    /// Returns the token for the page of `question` that starts after `position`.
    #[must_use]
    pub fn seal_page_token(&self, question: &Question<'_>, position: &[u8]) -> String {
        let kid = self.active_kid();
        let mut payload = Vec::with_capacity(MAC_BYTES + position.len());
        payload.extend_from_slice(&self.page_mac(kid, question, position).unwrap_or_default());
        payload.extend_from_slice(position);
        format!("{kid}{}", URL_SAFE_NO_PAD.encode(payload))
    }

    /// Returns the position in a page token for `question`.
    ///
    /// # Errors
    /// [`InvalidPageToken`] unless [`KeyRing::seal_page_token`] created the token for the same question.
    pub fn open_page_token(&self, question: &Question<'_>, token: &str) -> Result<Vec<u8>, InvalidPageToken> {
        let (kid, payload) = token.split_at_checked(1).ok_or(InvalidPageToken)?;
        let kid: Kid = kid.parse().map_err(|_| InvalidPageToken)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| InvalidPageToken)?;
        let (mac, position) = payload.split_first_chunk::<MAC_BYTES>().ok_or(InvalidPageToken)?;
        let ours = self.page_mac(kid, question, position).ok_or(InvalidPageToken)?;
        if bool::from(ours.as_slice().ct_eq(mac)) {
            Ok(position.to_vec())
        } else {
            Err(InvalidPageToken)
        }
    }

    fn page_mac(&self, kid: Kid, question: &Question<'_>, position: &[u8]) -> Option<[u8; MAC_BYTES]> {
        let Question {
            caller,
            list,
            parent,
            filter,
        } = question;
        let mut hasher = blake3::Hasher::new_keyed(self.page_key(kid)?);
        for part in [
            caller.as_bytes(),
            list.as_bytes(),
            parent.as_bytes(),
            filter.as_bytes(),
            position,
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().as_bytes().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::RootKeys;

    fn ring(root: char) -> KeyRing {
        let root = root.to_string().repeat(64);
        let text = format!("version = 2\nprefix = \"tkd\"\n[[keys]]\nkid = \"0\"\nroot = \"{root}\"\n");
        let roots = RootKeys::from_toml(&text).expect("a key ring");
        roots.ring(&roots.initial_keys()).expect("they are its own")
    }

    const QUESTION: Question<'_> = Question {
        caller: "ci",
        list: "ListTokens",
        parent: "workspaces/acme",
        filter: "",
    };

    #[test]
    fn opens_for_the_same_question_only() {
        let ring = ring('a');
        let token = ring.seal_page_token(&QUESTION, b"here");
        assert_eq!(ring.open_page_token(&QUESTION, &token), Ok(b"here".to_vec()));
        let others = [
            Question {
                caller: "c",
                ..QUESTION
            },
            Question {
                list: "ListCallers",
                ..QUESTION
            },
            Question {
                parent: "workspaces/acme2",
                ..QUESTION
            },
            Question {
                filter: "state=ACTIVE",
                ..QUESTION
            },
            // The same bytes, split differently.
            Question {
                caller: "ciL",
                list: "istTokens",
                ..QUESTION
            },
        ];
        for other in others {
            assert_eq!(ring.open_page_token(&other, &token), Err(InvalidPageToken), "{other:?}");
        }
        assert_eq!(
            self::ring('b').open_page_token(&QUESTION, &token),
            Err(InvalidPageToken)
        );
    }

    #[test]
    fn no_character_can_be_changed() {
        let ring = ring('a');
        let token = ring.seal_page_token(&QUESTION, b"here");
        for at in 0..token.len() {
            for replacement in ['A', 'z', '9', '_', '!', 'ä'] {
                let mut altered: Vec<char> = token.chars().collect();
                if altered[at] != replacement {
                    altered[at] = replacement;
                    let altered: String = altered.into_iter().collect();
                    assert_eq!(
                        ring.open_page_token(&QUESTION, &altered),
                        Err(InvalidPageToken),
                        "{altered}"
                    );
                }
            }
            assert_eq!(ring.open_page_token(&QUESTION, &token[..at]), Err(InvalidPageToken));
        }
        assert_eq!(
            ring.open_page_token(&QUESTION, &format!("{token}A")),
            Err(InvalidPageToken)
        );
    }
}

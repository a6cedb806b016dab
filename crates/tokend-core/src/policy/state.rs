use super::{Deadlines, MalformedPolicy, Policy};
use crate::{row_mac::MacInput, time::Timestamp};

/// A policy as it is stored with its organization or workspace: the current rules, and the deadlines that the current
/// and earlier versions have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// The policy in its text form; empty if none was ever set. It is parsed only where it is needed, since every
    /// verdict reads the row.
    pub text: String,
    /// When the policy was last set.
    pub update_time: Option<Timestamp>,
    /// The deadlines that bind existing tokens.
    pub deadlines: Deadlines,
}

impl PolicyState {
    /// Parses the policy. Returns one without rules if none was ever set.
    ///
    /// # Errors
    /// [`MalformedPolicy`] if a later version of tokend wrote it.
    pub fn policy(&self) -> Result<Policy, MalformedPolicy> {
        if self.text.is_empty() {
            Ok(Policy::default())
        } else {
            self.text.parse()
        }
    }

    /// Returns the state after `policy` is set at `now`. `says` is the policy that this state holds. Setting the same
    /// policy again changes nothing, unless none was ever set.
    #[must_use]
    pub fn set(&self, says: &Policy, policy: &Policy, now: Timestamp) -> Self {
        if says == policy && self.update_time.is_some() {
            return self.clone();
        }
        let deadlines = self
            .deadlines
            .after_edit(says.applied_lifetime(), policy.applied_lifetime(), now);
        Self {
            text: policy.to_string(),
            update_time: Some(now),
            deadlines,
        }
    }

    /// Returns an opaque value that changes whenever another policy is set: 16 hexadecimal digits. Clients send it back
    /// to detect concurrent updates (AIP-154).
    #[must_use]
    pub fn etag(&self) -> String {
        let Self {
            text,
            update_time,
            deadlines: _,
        } = self;
        let time = update_time.map_or_else(String::new, |time| time.unix_micros().to_string());
        let mut hasher = blake3::Hasher::new();
        hasher.update(time.as_bytes()).update(b" ").update(text.as_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Feeds the policy's columns, which the row has since `layout`.
    pub(crate) fn write_sealed_columns(&self, layout: u8, input: &mut MacInput) {
        let Self {
            text,
            update_time,
            deadlines,
        } = self;
        input.since(layout, *self == Self::default(), |input| {
            input.text(text);
            input.optional(*update_time, MacInput::time);
            input.count(deadlines.as_slice().len() as u64);
            for step in deadlines.as_slice() {
                input.time(step.created_until);
                input.time(step.end);
            }
        });
    }
}

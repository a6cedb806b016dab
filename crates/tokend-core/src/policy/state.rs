use super::{Deadlines, MalformedPolicy, Policy};
use crate::{row_mac::MacInput, time::Timestamp};

/// A policy where it is set, in the row of an organization or a workspace: what it says, and the deadlines that it and those before it have
/// left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// What it says, spelled; empty if none was ever set. Read only where it matters: every verdict reads the row.
    pub text: String,
    /// When it was set.
    pub update_time: Option<Timestamp>,
    /// What binds tokens that there were.
    pub deadlines: Deadlines,
}

impl PolicyState {
    /// What the policy says; nothing, if none was ever set.
    ///
    /// # Errors
    /// [`MalformedPolicy`] if a later version wrote it.
    pub fn policy(&self) -> Result<Policy, MalformedPolicy> {
        if self.text.is_empty() { Ok(Policy::default()) } else { self.text.parse() }
    }

    /// The state after `policy` is set at `now` in place of the one that it `says`. Setting what it says already changes nothing, unless
    /// none was ever set.
    #[must_use]
    pub fn set(&self, says: &Policy, policy: &Policy, now: Timestamp) -> Self {
        if says == policy && self.update_time.is_some() {
            return self.clone();
        }
        let deadlines = self.deadlines.after_edit(says.applied_lifetime(), policy.applied_lifetime(), now);
        Self { text: policy.to_string(), update_time: Some(now), deadlines }
    }

    /// Changes whenever the policy is set to another one: what a client hands back to say which one it has seen.
    #[must_use]
    pub fn etag(&self) -> String {
        let Self { text, update_time, deadlines: _ } = self;
        let time = update_time.map_or_else(String::new, |time| time.unix_micros().to_string());
        let mut hasher = blake3::Hasher::new();
        hasher.update(time.as_bytes()).update(b" ").update(text.as_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Feeds the columns that a row has of it since `layout`.
    pub(crate) fn write_sealed_columns(&self, layout: u8, input: &mut MacInput) {
        let Self { text, update_time, deadlines } = self;
        input.since(layout, *self == Self::default(), |input| {
            input.text(text);
            input.optional(*update_time, MacInput::time);
            input.count(deadlines.as_slice().len() as u64);
            for step in deadlines.as_slice() {
                input.time(step.made_until);
                input.time(step.end);
            }
        });
    }
}

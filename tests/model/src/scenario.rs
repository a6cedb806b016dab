//! The bounds of a run of the checker.

use crate::lease_change;
use crate::memory::Thing;
use crate::rule::{Broken, Rule};
use crate::sdk::SdkBounds;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) broken: Broken,
    pub(crate) servers: usize,
    pub(crate) changes: Vec<Planned>,
    /// The lease, and the time that answers wait, in ticks; then what clocks may drift during a lease, and the wait's
    /// margin for it.
    pub(crate) grant: u8,
    pub(crate) wait: u8,
    pub(crate) drift: u8,
    pub(crate) margin: u8,
    pub(crate) lease_changes: Vec<lease_change::Planned>,
    pub(crate) disaster: Option<Disaster>,
    /// Feed rows are purged, at any time.
    pub(crate) purges: bool,
    /// How often servers may restart.
    pub(crate) crashes: u8,
    /// Servers verify. Otherwise they only serve streams, and answer the SDK from the database.
    pub(crate) servers_verify: bool,
    /// A Verify may name the revision of a change's answer as its `min_revision`.
    pub(crate) min_revision: bool,
    /// Watch, by one SDK.
    pub(crate) sdk: Option<SdkBounds>,
    /// A client without Watch that caches the token's verdict for as long as it may.
    pub(crate) plain_client: bool,
    /// An apply is one step. No read happens in between, so that there are fewer states.
    pub(crate) whole_applies: bool,
}

/// One call that revokes a thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) thing: Thing,
    /// The answer does not wait, and so guarantees something only to callers that name its revision.
    pub(crate) no_wait: bool,
}

/// The event that replaces the database, once and at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disaster {
    /// A standby is promoted. It may lack changes that are committed but not acknowledged.
    Promotion,
    /// A backup is restored.
    Restore,
}

impl Scenario {
    /// One server, one token and one call that revokes it.
    pub(crate) fn revoke() -> Self {
        Self {
            broken: Broken::default(),
            servers: 1,
            changes: vec![Planned {
                thing: Thing::Token,
                no_wait: false,
            }],
            grant: 1,
            wait: 1,
            drift: 1,
            margin: 1,
            lease_changes: Vec::new(),
            disaster: None,
            purges: false,
            crashes: 0,
            servers_verify: true,
            min_revision: false,
            sdk: None,
            plain_client: false,
            whole_applies: false,
        }
    }

    /// A call that revokes the token without waiting, and its repeat, which waits.
    pub(crate) fn repeat() -> Self {
        let no_wait = Planned {
            thing: Thing::Token,
            no_wait: true,
        };
        let mut scenario = Self::revoke();
        scenario.changes.insert(0, no_wait);
        scenario
    }

    /// A change of something else, which takes a revision, and the call that revokes the token.
    pub(crate) fn two_things() -> Self {
        Self::revoke().after_other()
    }

    /// An SDK whose stream may begin `connects` times. Servers answer it from the database: an answer from
    /// memory could have been an earlier answer from the database.
    pub(crate) fn watch(connects: u8) -> Self {
        let sdk = SdkBounds {
            connects,
            other_is_caller: false,
            asks_memory: false,
        };
        Self {
            servers_verify: false,
            sdk: Some(sdk),
            ..Self::revoke()
        }
    }

    /// An SDK whose key is revoked.
    pub(crate) fn watch_caller(connects: u8) -> Self {
        let sdk = SdkBounds {
            connects,
            other_is_caller: true,
            asks_memory: false,
        };
        let changes = vec![Planned {
            thing: Thing::Other,
            no_wait: false,
        }];
        Self {
            servers_verify: false,
            sdk: Some(sdk),
            changes,
            ..Self::revoke()
        }
    }

    /// An SDK that servers answer from memory.
    pub(crate) fn watch_memory(connects: u8) -> Self {
        let sdk = SdkBounds {
            connects,
            other_is_caller: false,
            asks_memory: true,
        };
        Self {
            sdk: Some(sdk),
            ..Self::revoke()
        }
    }

    pub(crate) fn lease(mut self, ticks: u8) -> Self {
        (self.grant, self.wait) = (ticks, ticks);
        self
    }

    /// Puts a change of something else, which takes a revision, before the other calls.
    pub(crate) fn after_other(mut self) -> Self {
        self.changes.insert(
            0,
            Planned {
                thing: Thing::Other,
                no_wait: true,
            },
        );
        self
    }

    /// Reduces the number of states: clocks do not drift, and no read happens in the middle of an apply.
    pub(crate) fn coarse(self) -> Self {
        Self {
            drift: 0,
            margin: 0,
            whole_applies: true,
            ..self
        }
    }

    pub(crate) fn without(mut self, rule: Rule) -> Self {
        self.broken = Broken::only(rule);
        self
    }

    /// The longest possible lease.
    pub(crate) fn longest_lease(&self) -> u8 {
        let later = self.lease_changes.iter().map(|planned| match planned {
            lease_change::Planned::Raise(to) | lease_change::Planned::Lower(to) => *to,
        });
        later.fold(self.grant, u8::max) + self.drift
    }
}

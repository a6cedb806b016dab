//! Time in ticks, relative to now, so that a run has no horizon and the states are finitely many.
//!
//! A tick happens to all parts at once. Clocks that drift are modelled at their worst: a lease lasts `drift` ticks
//! longer than its holder believes, and the writer's wait lasts what the writer believes. Every smaller drift is among
//! these runs, since polls, pings and waits may take any time.

/// The rest of a lease or a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Left(pub(crate) u8);

impl Left {
    pub(crate) fn runs(self) -> bool {
        self.0 > 0
    }

    /// Renews a lease: it never gets shorter.
    pub(crate) fn extend(&mut self, ticks: u8) {
        self.0 = self.0.max(ticks);
    }

    pub(crate) fn tick(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// How long ago a poll, ping or request was sent. It stops at the longest lease, because an older one can renew
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Age(pub(crate) u8);

impl Age {
    pub(crate) fn tick(&mut self, longest: u8) {
        self.0 = (self.0 + 1).min(longest);
    }

    /// Returns the rest of a lease that began when this was sent.
    pub(crate) fn rest_of(self, lease: u8) -> u8 {
        lease.saturating_sub(self.0)
    }
}

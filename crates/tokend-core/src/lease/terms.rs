use std::{fmt, time::Duration};

/// How long leases last and how long changes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long memory may be trusted after the question for changes was asked. At most `wait` (L3).
    pub grant: Duration,
    /// How long a change waits at least; see [`full_wait`](Self::full_wait).
    pub wait: Duration,
    /// Grows with each change of the terms. Who lowers them in two steps sees whether they changed in between.
    pub number: u64,
}

/// The duration of a lease is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts from {} to {} milliseconds", Terms::MIN.as_millis(), Terms::MAX.as_millis())]
pub struct TermsOutOfRange;

impl Default for Terms {
    fn default() -> Self {
        Self {
            grant: Self::DEFAULT,
            wait: Self::DEFAULT,
            number: 0,
        }
    }
}

impl Terms {
    /// The shortest lease.
    pub const MIN: Duration = Duration::from_millis(50);
    /// The longest lease.
    pub const MAX: Duration = Duration::from_secs(30);
    /// The lease of a new installation.
    pub const DEFAULT: Duration = Duration::from_secs(1);

    /// Returns the first terms of an installation.
    ///
    /// # Errors
    /// [`TermsOutOfRange`].
    pub fn new(lease: Duration) -> Result<Self, TermsOutOfRange> {
        Self::check(lease)?;
        Ok(Self {
            grant: lease,
            wait: lease,
            number: 0,
        })
    }

    /// Checks that a lease may last so long.
    ///
    /// # Errors
    /// [`TermsOutOfRange`].
    pub fn check(lease: Duration) -> Result<(), TermsOutOfRange> {
        if (Self::MIN..=Self::MAX).contains(&lease) {
            Ok(())
        } else {
            Err(TermsOutOfRange)
        }
    }

    /// Returns how long a change waits after its COMMIT was acknowledged: the longest lease and a margin (C5).
    #[must_use]
    pub fn full_wait(self) -> Duration {
        Self::with_margin(self.wait)
    }

    /// Adds the margin to a wait: a fifth of it, for clocks that drift, and 50 ms, the longest time for which the
    /// platform may stop a guest's clock.
    #[must_use]
    pub fn with_margin(wait: Duration) -> Duration {
        wait + wait / 5 + Duration::from_millis(50)
    }

    /// Returns the terms under which leases last for `lease`. Changes wait at least as long as before: leases of the
    /// former terms may still run (L3).
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self {
            grant: lease,
            wait: self.wait.max(lease),
            number: self.number + 1,
        }
    }

    /// Returns the terms under which changes wait no longer than leases last. Only for terms that began a full wait of
    /// their predecessors ago and have not changed since (L3).
    #[must_use]
    pub fn with_wait_of_lease(self) -> Self {
        Self {
            wait: self.grant,
            number: self.number + 1,
            ..self
        }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leases of {:?}, waits of {:?}", self.grant, self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(millis: u64) -> Terms {
        Terms::new(Duration::from_millis(millis)).expect("in range")
    }

    #[test]
    fn a_lease_is_never_longer_than_the_wait() {
        let spans = |terms: Terms| (terms.grant.as_millis(), terms.wait.as_millis(), terms.number);
        let lowered = terms(1000).with_lease(Duration::from_millis(300));
        assert_eq!(spans(lowered), (300, 1000, 1));
        assert_eq!(spans(lowered.with_lease(Duration::from_millis(500))), (500, 1000, 2));
        assert_eq!(spans(lowered.with_lease(Duration::from_secs(2))), (2000, 2000, 2));
        assert_eq!(spans(lowered.with_wait_of_lease()), (300, 300, 2));
    }

    #[test]
    fn a_wait_has_a_margin() {
        assert_eq!(terms(1000).full_wait(), Duration::from_millis(1250));
        assert_eq!(terms(50).full_wait(), Duration::from_millis(110));
        assert_eq!(Terms::new(Duration::from_millis(49)), Err(TermsOutOfRange));
    }
}

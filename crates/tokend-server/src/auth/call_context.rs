//! Every use case takes a [`CallContext`]: who calls, on whose behalf, from where, and until when the answer matters.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokend_core::{
    audit::{Actor, Origin},
    caller::Caller,
    change::Initiator,
    time::{BootTime, Clock},
};

use super::{Authenticated, CallerCredential};
use crate::{error::ServiceError, limits::room::RoomOfCall, observability::request_id::RequestId};

/// One call of an authenticated caller, whatever the transport that it came by.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    /// The caller, as it was when it authenticated.
    pub(crate) caller: Arc<Caller>,
    /// What the caller authenticated with.
    pub(crate) credential: CallerCredential,
    /// On whose behalf the caller acts, as it asserts.
    pub(crate) actor: Option<Actor>,
    /// The address that the connection comes from.
    pub(crate) address: Option<IpAddr>,
    /// The id under which the log has more about the call.
    pub(crate) request_id: RequestId,
    /// When the client stops waiting for the answer, if it does.
    pub(crate) deadline: Option<Deadline>,
    /// The room that the call takes from others.
    pub(crate) room: RoomOfCall,
}

/// The time by which a call must be answered.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    clock: Clock,
    start: BootTime,
    within: Duration,
}

impl CallContext {
    /// Returns the caller and its credential, which are checked again where the call changes something.
    pub(crate) fn authenticated(&self) -> Authenticated {
        Authenticated {
            caller: Arc::clone(&self.caller),
            credential: self.credential.clone(),
        }
    }

    /// Refuses to go on after the deadline. A use case that makes several writes asks before each.
    ///
    /// # Errors
    /// [`ServiceError::DeadlineExceeded`].
    pub(crate) fn check_deadline(&self) -> Result<(), ServiceError> {
        match &self.deadline {
            Some(deadline) if deadline.has_passed() => Err(ServiceError::DeadlineExceeded),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns who makes the changes of this call, for the audit log.
    pub(super) fn initiator(&self) -> Initiator {
        let Self {
            caller,
            credential: _,
            actor,
            address,
            request_id: _,
            deadline: _,
            room: _,
        } = self;
        Initiator::Caller(Origin {
            caller: Some(caller.id.clone()),
            actor: actor.clone(),
            address: *address,
        })
    }
}

impl Deadline {
    /// Starts now and passes `within` that time.
    pub(crate) fn new(clock: &Clock, within: Duration) -> Self {
        Self {
            clock: clock.clone(),
            start: clock.boot_time(),
            within,
        }
    }

    fn has_passed(&self) -> bool {
        self.clock.boot_time().saturating_since(self.start) >= self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_when_its_time_is_over() {
        let clock = Clock::system();
        assert!(!Deadline::new(&clock, Duration::from_secs(60)).has_passed());
        assert!(Deadline::new(&clock, Duration::ZERO).has_passed());
    }
}

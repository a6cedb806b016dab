use std::cell::Cell;

use tokend_core::{lease::Subject, time::Clock};

use super::*;
use crate::{
    guard::token::tests::{NAME, message, question},
    v1,
};

const KEY: Key = [7; 32];
const SECOND: Duration = Duration::from_secs(1);
const RESOURCE: &str = "workspaces/acme/projects/web/repositories/site";

/// A memory, and a clock that the test moves.
struct Case {
    memory: Memory,
    began: BootTime,
}

impl Case {
    fn of_stream_at(number: u64) -> Self {
        Self {
            memory: Memory::of_stream(Revision { epoch: 5, number }, 1 << 20),
            began: Clock::system().boot_time(),
        }
    }

    fn without_stream() -> Self {
        Self {
            memory: Memory::without_stream(1 << 20),
            ..Self::of_stream_at(0)
        }
    }

    fn at(&self, after: Duration) -> BootTime {
        self.began.saturating_add(after)
    }

    fn store(&self, message: v1::VerifiedToken, epoch: u64, number: u64) -> Stored {
        let allowed = Allowed {
            token: VerifiedToken::new(message),
            revision: Some(Revision { epoch, number }),
            cacheable_for: SECOND,
            sent: self.began,
        };
        self.memory.store(KEY, allowed)
    }

    fn hits(&self, after: Duration) -> bool {
        let question = question(RESOURCE, &["repository"], None);
        self.memory.look_up(&KEY, &question, || self.at(after)).is_some()
    }

    fn invalidate(&self, name: &str, number: u64) {
        let subject: Subject = name.parse().expect("a subject");
        self.memory.invalidate(subject.slot(), number);
    }
}

const KEPT: Stored = Stored::Kept { evicted: 0 };

#[test]
fn memory_answers_only_under_a_lease_that_counts_from_the_ping() {
    let case = Case::of_stream_at(3);
    assert_eq!(case.store(message(), 5, 3), KEPT);
    assert!(!case.hits(Duration::ZERO), "a new stream has no lease");
    case.memory.renew(case.began, SECOND);
    assert!(case.hits(SECOND - Duration::from_millis(1)));
    assert!(!case.hits(SECOND));
    case.memory.renew(case.at(3 * SECOND), SECOND);
    assert!(
        case.hits(3 * SECOND),
        "the entry is as good as before, since the stream was complete"
    );
}

#[test]
fn an_answer_does_not_leave_after_the_lease_has_ended() {
    let case = Case::of_stream_at(3);
    case.store(message(), 5, 3);
    case.memory.renew(case.began, SECOND);
    let asked = Cell::new(0);
    let late = || {
        asked.set(asked.get() + 1);
        case.at(if asked.get() == 1 { Duration::ZERO } else { SECOND })
    };
    let question = question(RESOURCE, &[], None);
    assert!(case.memory.look_up(&KEY, &question, late).is_none());
    assert_eq!(asked.get(), 2);
}

#[test]
fn what_is_invalidated_is_outdated() {
    for name in [NAME, "workspaces/acme"] {
        let case = Case::of_stream_at(3);
        case.memory.renew(case.began, SECOND);
        case.store(message(), 5, 7);
        case.invalidate("workspaces/globex", 9);
        case.invalidate(name, 7);
        assert!(case.hits(Duration::ZERO), "the answer was read at revision 7");
        case.invalidate(name, 8);
        assert!(!case.hits(Duration::ZERO), "{name}");
        assert_eq!(case.store(message(), 5, 7), Stored::Refused, "a late answer");
        assert_eq!(case.store(message(), 5, 8), KEPT);
        assert!(case.hits(Duration::ZERO));
        case.memory.invalidate_all(9);
        assert!(!case.hits(Duration::ZERO));
    }
}

#[test]
fn an_answer_from_before_the_stream_or_of_another_epoch_is_used_once() {
    let case = Case::of_stream_at(3);
    case.memory.renew(case.began, SECOND);
    assert_eq!(case.store(message(), 5, 2), Stored::Refused);
    assert_eq!(case.store(message(), 6, 9), Stored::Refused);
    let of_no_revision = Allowed {
        token: VerifiedToken::new(message()),
        revision: None,
        cacheable_for: SECOND,
        sent: case.began,
    };
    assert_eq!(case.memory.store(KEY, of_no_revision), Stored::Refused);
    assert!(!case.hits(Duration::ZERO));
}

#[test]
fn an_entry_lives_as_long_as_its_token() {
    let case = Case::of_stream_at(3);
    case.memory.renew(case.began, 60 * SECOND);
    let expiring = v1::VerifiedToken {
        expire_time: Some(prost_types::Timestamp::default()),
        expires_in: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..message()
    };
    case.store(expiring.clone(), 5, 3);
    assert!(case.hits(5 * SECOND - Duration::from_nanos(1_000)));
    assert!(!case.hits(5 * SECOND), "expired means now >= expire_time");
    let unclear = v1::VerifiedToken {
        expires_in: None,
        ..expiring
    };
    assert_eq!(case.store(unclear, 5, 3), Stored::Refused);
}

#[test]
fn without_a_stream_the_service_says_how_long() {
    let case = Case::without_stream();
    assert_eq!(case.store(message(), 5, 3), KEPT);
    assert!(case.hits(SECOND - Duration::from_micros(1)));
    assert!(!case.hits(SECOND), "counted from when the request was sent");
    let read_through = Allowed {
        token: VerifiedToken::new(message()),
        revision: Some(Revision { epoch: 5, number: 3 }),
        cacheable_for: Duration::ZERO,
        sent: case.began,
    };
    assert_eq!(case.memory.store([8; 32], read_through), Stored::Refused);
}

#[test]
fn only_what_is_clearly_allowed_is_decided_here() {
    let case = Case::of_stream_at(3);
    case.memory.renew(case.began, SECOND);
    case.store(message(), 5, 3);
    for (resource, scopes) in [("workspaces/acme", &["repository"][..]), (RESOURCE, &["webhook"])] {
        let question = question(resource, scopes, None);
        assert!(case.memory.look_up(&KEY, &question, || case.began).is_none());
    }
    let other_token = case
        .memory
        .look_up(&[1; 32], &question(RESOURCE, &[], None), || case.began);
    assert!(other_token.is_none());
}

use tokend_core::time::Clock;

use super::*;
use crate::{
    guard::{
        VerifiedToken,
        memory::{Allowed, Stored},
        token::tests::{NAME, message as token, question},
    },
    v1::Invalidation,
};

const SECOND: Duration = Duration::from_secs(1);
const EPOCH: u64 = 5;
const KEY: [u8; 32] = [7; 32];

/// A stream whose messages the test writes, and a clock that it moves.
struct Script {
    session: Session,
    current: Current,
    began: BootTime,
}

impl Script {
    /// A stream that resumes none.
    fn fresh() -> Self {
        Self {
            session: Session::begin(None, 1 << 20),
            current: Current::from_pointee(Memory::without_stream(1 << 20)),
            began: Clock::system().boot_time(),
        }
    }

    /// Cuts the stream and begins one that resumes it.
    fn resume(self) -> Self {
        let cut = self.session.cut();
        assert!(cut.is_some(), "there was a pong");
        Self {
            session: Session::begin(cut, 1 << 20),
            ..self
        }
    }

    fn at(&self, after: Duration) -> BootTime {
        self.began.saturating_add(after)
    }

    fn ping(&mut self, after: Duration) -> u64 {
        self.session.ping(self.at(after)).expect("a ping").number
    }

    fn receive(&mut self, response: WatchResponse) -> Result<Received, Broken> {
        self.session.receive(response, &self.current)
    }

    fn pong(&mut self, number: u64, lease: Duration, revision: u64) -> Result<Received, Broken> {
        self.receive(pong(number, lease, EPOCH, revision))
    }

    fn invalidate(&mut self, name: &str, revision: u64) -> Result<Received, Broken> {
        self.receive(invalidation(name, EPOCH, revision))
    }

    /// Keeps an answer that was read at this revision.
    fn store(&self, revision: u64) -> bool {
        let allowed = Allowed {
            token: VerifiedToken::new(token()),
            revision: Some(Revision {
                epoch: EPOCH,
                number: revision,
            }),
            cacheable_for: Duration::ZERO,
            sent: self.began,
        };
        self.current.load().store(KEY, allowed) != Stored::Refused
    }

    fn hits(&self, after: Duration) -> bool {
        let question = question("workspaces/acme/projects/web", &[], None);
        let memory = self.current.load();
        memory.look_up(&KEY, &question, || self.at(after)).is_some()
    }
}

fn pong(number: u64, lease: Duration, epoch: u64, revision: u64) -> WatchResponse {
    WatchResponse {
        pong: Some(Pong {
            number,
            lease_remaining: Some(prost_types::Duration {
                seconds: lease.as_secs().try_into().expect("short"),
                nanos: lease.subsec_nanos().cast_signed(),
            }),
            revision: Some(v1::Revision {
                epoch,
                number: revision,
            }),
        }),
        ..WatchResponse::default()
    }
}

fn invalidation(name: &str, epoch: u64, revision: u64) -> WatchResponse {
    let text = name.to_owned();
    let subject = match name.split('/').count() {
        4 => invalidation::Subject::Token(text),
        _ if name.starts_with("callers") => invalidation::Subject::Caller(text),
        _ => invalidation::Subject::Workspace(text),
    };
    WatchResponse {
        invalidations: vec![Invalidation {
            subject: Some(subject),
            revision: Some(v1::Revision {
                epoch,
                number: revision,
            }),
        }],
        ..WatchResponse::default()
    }
}

#[test]
fn the_lease_counts_from_the_ping_that_the_pong_names() {
    let mut script = Script::fresh();
    let (first, second) = (script.ping(Duration::ZERO), script.ping(SECOND / 2));
    script.pong(first, SECOND, 3).expect("a pong");
    assert!(script.store(3));
    assert!(script.hits(SECOND - Duration::from_millis(1)));
    assert!(!script.hits(SECOND), "the second ping has no pong");
    script.pong(second, SECOND, 3).expect("a pong");
    assert!(script.hits(SECOND + SECOND / 4));
    assert!(!script.hits(SECOND * 3 / 2));
}

#[test]
fn a_pong_must_name_an_open_ping() {
    let mut script = Script::fresh();
    let number = script.ping(Duration::ZERO);
    assert_eq!(script.pong(number + 1, SECOND, 3), Err(Broken::UnknownPing));
    script.pong(number, SECOND, 3).expect("a pong");
    assert_eq!(script.pong(number, SECOND, 3), Err(Broken::UnknownPing));
    let no_revision = WatchResponse {
        pong: Some(Pong {
            number,
            ..Pong::default()
        }),
        ..WatchResponse::default()
    };
    assert_eq!(script.receive(no_revision), Err(Broken::NoRevision));
}

#[test]
fn a_fresh_stream_begins_without_lease_and_memory() {
    let mut script = Script::fresh();
    let number = script.ping(Duration::ZERO);
    script.pong(number, 60 * SECOND, 3).expect("a pong");
    assert!(script.store(3) && script.hits(Duration::ZERO));
    let mut other = Script {
        session: Session::begin(None, 1 << 20),
        ..script
    };
    let number = other.ping(SECOND);
    other.pong(number, Duration::ZERO, 3).expect("a pong");
    assert!(!other.hits(SECOND), "the former entries are not inherited");
    assert!(other.store(3));
    assert!(!other.hits(SECOND), "the former lease is not inherited");
}

#[test]
fn what_is_invalidated_or_older_than_the_stream_is_not_used_again() {
    let mut script = Script::fresh();
    let number = script.ping(Duration::ZERO);
    script.pong(number, SECOND, 3).expect("a pong");
    assert!(!script.store(2), "from before the stream");
    assert!(script.store(3) && script.hits(Duration::ZERO));
    for (name, revision) in [
        (NAME, 4),
        ("workspaces/acme", 5),
        ("callers/gateway", 6),
        ("nonsense", 7),
    ] {
        script.invalidate(name, revision).expect("an invalidation");
        assert!(!script.hits(Duration::ZERO), "{name}");
        assert!(!script.store(revision - 1), "{name}: a late answer");
        assert!(script.store(revision) && script.hits(Duration::ZERO), "{name}");
    }
    script.invalidate("workspaces/globex", 8).expect("an invalidation");
    assert!(script.hits(Duration::ZERO));
}

#[test]
fn an_invalidation_may_overtake_the_first_pong() {
    let mut script = Script::fresh();
    let number = script.ping(Duration::ZERO);
    script.invalidate(NAME, 8).expect("an invalidation");
    script.pong(number, SECOND, 7).expect("a pong");
    assert!(!script.store(7), "the token was invalidated at 8");
    assert!(script.store(8));
}

#[test]
fn invalidations_come_before_the_pong_of_the_same_message() {
    let mut script = Script::fresh();
    let (first, second) = (script.ping(Duration::ZERO), script.ping(SECOND));
    let third = script.ping(2 * SECOND);
    script.pong(first, SECOND, 3).expect("a pong");
    assert!(script.store(3));
    let both = WatchResponse {
        invalidations: invalidation(NAME, EPOCH, 4).invalidations,
        ..pong(second, SECOND, EPOCH, 4)
    };
    let received = script.receive(both).expect("a pong");
    assert!(received.pong && !script.hits(SECOND));
    assert!(script.store(4) && script.hits(SECOND));
    // An invalidation that can't be applied keeps the lease from being renewed.
    let broken = WatchResponse {
        invalidations: invalidation(NAME, 6, 5).invalidations,
        ..pong(third, SECOND, EPOCH, 5)
    };
    assert_eq!(script.receive(broken), Err(Broken::OtherEpoch));
    assert!(!script.hits(2 * SECOND));
}

#[test]
fn a_resumed_stream_keeps_memory_and_lease_and_asks_for_what_it_missed() {
    let mut script = Script::fresh();
    assert_eq!(script.session.resumes(), None);
    let number = script.ping(Duration::ZERO);
    script.pong(number, SECOND, 3).expect("a pong");
    assert!(script.store(3));
    // The next pong would say whether all of revision 4 has arrived.
    script.invalidate("workspaces/globex", 4).expect("an invalidation");
    let mut script = script.resume();
    let resumed = script
        .session
        .resumes()
        .map(|revision| (revision.epoch, revision.number));
    assert_eq!(resumed, Some((EPOCH, 3)));
    assert!(script.hits(SECOND / 2) && !script.hits(SECOND));
    script.invalidate(NAME, 4).expect("replayed");
    assert!(!script.hits(SECOND / 2));
    assert_eq!(
        script.pong(number, SECOND, 4),
        Err(Broken::UnknownPing),
        "of the former stream"
    );
}

#[test]
fn another_epoch_breaks_the_stream() {
    let mut script = Script::fresh();
    let first = script.ping(Duration::ZERO);
    script.pong(first, SECOND, 3).expect("a pong");
    assert_eq!(script.receive(invalidation(NAME, 6, 4)), Err(Broken::OtherEpoch));
    let second = script.ping(SECOND);
    assert_eq!(script.receive(pong(second, SECOND, 6, 4)), Err(Broken::OtherEpoch));
    let mut script = Script::fresh();
    let number = script.ping(Duration::ZERO);
    script.invalidate(NAME, 8).expect("an invalidation");
    assert_eq!(script.receive(pong(number, SECOND, 6, 4)), Err(Broken::OtherEpoch));
}

#[test]
fn a_resync_drops_everything_and_the_stream_goes_on_as_a_fresh_one() {
    let mut script = Script::fresh();
    let (first, second) = (script.ping(Duration::ZERO), script.ping(SECOND));
    script.pong(first, 60 * SECOND, 3).expect("a pong");
    assert!(script.store(3));
    let resync = WatchResponse {
        resync_required: true,
        ..WatchResponse::default()
    };
    assert!(script.receive(resync).expect("a resync").resync);
    assert!(!script.hits(Duration::ZERO));
    assert_eq!(script.session.resumes(), None);
    script.receive(pong(second, SECOND, 6, 1)).expect("another epoch");
    assert!(!script.hits(SECOND), "nothing is left");
    assert!(!script.store(9), "of the former epoch");
}

#[test]
fn pings_are_bounded_and_follow_the_lease() {
    let mut script = Script::fresh();
    assert_eq!(script.session.interval(), FIRST_INTERVAL);
    let numbers: Vec<_> = (0..MAX_OPEN_PINGS).map(|_| script.ping(Duration::ZERO)).collect();
    assert!(script.session.ping(script.began).is_none());
    script.session.unsend();
    script.pong(numbers[3], 2 * SECOND, 1).expect("a pong");
    assert_eq!(script.session.interval(), SECOND / 2);
    assert_eq!(
        script.session.open_pings.len(),
        MAX_OPEN_PINGS - 5,
        "earlier pings are forgotten"
    );
    script
        .pong(numbers[4], Duration::ZERO, 1)
        .expect("a pong of a server without a lease");
    assert_eq!(script.session.interval(), SECOND / 2);
    for number in &numbers[5..15] {
        script.pong(*number, Duration::from_millis(1), 1).expect("a pong");
    }
    assert!(script.session.interval() < SECOND / 4);
}

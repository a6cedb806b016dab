//! Expiry notices: up to four warnings before a token expires, and a notice when it has expired. A caller key gets the
//! last three warnings and the notice of its expiry.
//!
//! Each notice is sent once for each token, however often the token's expiry moves: [`SentNotices`] keeps which ones
//! were sent. A notice that is overdue, because no server ran or because a policy brought the expiry forward, is sent
//! late. A warning that was due before the token was created is skipped. A token that is being replaced gets no
//! warnings, since whoever rotated it knows. Revoked tokens and tokens of deleted workspaces get no notices.

use crate::{
    caller::CallerKey,
    time::Timestamp,
    token::{Expiry, Token},
    workspace::WorkspaceState,
};

/// A notice about the expiry of a token or caller key. A day is 24 hours here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpiryNotice {
    /// It expires in 60 days.
    SixtyDays,
    /// It expires in 30 days.
    ThirtyDays,
    /// It expires in 7 days.
    SevenDays,
    /// It expires in one day.
    OneDay,
    /// It has expired.
    End,
}

/// The notices that were sent for one token or caller key: a bit set, stored as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentNotices(u8);

/// When each notice of a token or caller key is due, in the order of [`ExpiryNotice::ALL`]. `None` for a notice that is
/// not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticePlan([Option<Timestamp>; ExpiryNotice::ALL.len()]);

impl ExpiryNotice {
    /// Every notice, in the order in which they are due.
    pub const ALL: [Self; 5] = [
        Self::SixtyDays,
        Self::ThirtyDays,
        Self::SevenDays,
        Self::OneDay,
        Self::End,
    ];

    /// Returns how many days before the expiry the notice is due: 60, 30, 7, 1 or 0.
    #[must_use]
    pub const fn days(self) -> u8 {
        match self {
            Self::SixtyDays => 60,
            Self::ThirtyDays => 30,
            Self::SevenDays => 7,
            Self::OneDay => 1,
            Self::End => 0,
        }
    }

    /// Returns when the notice is due for an expiry at `end`.
    fn time(self, end: Timestamp) -> Timestamp {
        const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;
        end.saturating_add_micros(-i64::from(self.days()) * MICROS_PER_DAY)
    }

    /// The bit in [`SentNotices`]. It is stored, so a bit must never be reused for another notice.
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl SentNotices {
    /// No notice was sent.
    pub const NONE: Self = Self(0);

    /// Reads the stored number. `None` if it has a bit that stands for no notice.
    #[must_use]
    pub fn from_bits(bits: i16) -> Option<Self> {
        let known = ExpiryNotice::ALL.iter().fold(0, |known, notice| known | notice.bit());
        u8::try_from(bits).ok().filter(|bits| bits & !known == 0).map(Self)
    }

    /// Returns the number to store.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.0.into()
    }

    /// Returns whether `notice` was sent.
    #[must_use]
    pub const fn has(self, notice: ExpiryNotice) -> bool {
        self.0 & notice.bit() != 0
    }

    /// Returns the set with `notice` added.
    #[must_use]
    pub const fn with(self, notice: ExpiryNotice) -> Self {
        Self(self.0 | notice.bit())
    }
}

impl Token {
    /// Returns the notices of the token, given the state of its workspace and the effective expiry `end`.
    #[must_use]
    pub fn notice_plan(&self, workspace: WorkspaceState, end: Expiry) -> NoticePlan {
        let is_over = self.revocation.is_some() || matches!(workspace, WorkspaceState::Deleted { .. });
        let end = end.time().filter(|_| !is_over);
        let is_sent =
            |notice, due| notice == ExpiryNotice::End || (due > self.create_time && !self.is_being_replaced());
        let due = |notice: ExpiryNotice| end.map(|end| notice.time(end)).filter(|due| is_sent(notice, *due));
        NoticePlan(ExpiryNotice::ALL.map(due))
    }

    /// Returns whether the token was rotated. In a backup that is older than the successor, only the moved expiry shows
    /// it.
    fn is_being_replaced(&self) -> bool {
        self.rotated_to.is_some() || self.own_expiry != self.requested_expiry
    }
}

impl CallerKey {
    /// Returns the notices of the key: none once it is revoked. Another key of the same caller does not suppress them,
    /// since somebody may still use the old key.
    #[must_use]
    pub fn notice_plan(&self) -> NoticePlan {
        let is_given = |notice, due| match notice {
            ExpiryNotice::SixtyDays => false,
            ExpiryNotice::ThirtyDays | ExpiryNotice::SevenDays | ExpiryNotice::OneDay => due > self.create_time,
            ExpiryNotice::End => true,
        };
        let time = |notice: ExpiryNotice| Some(notice.time(self.expire_time)).filter(|due| is_given(notice, *due));
        NoticePlan(ExpiryNotice::ALL.map(|notice| time(notice).filter(|_| self.revoke_time.is_none())))
    }
}

impl NoticePlan {
    /// Returns the notices that are due at `now` and not yet sent, in order.
    pub fn due(self, sent: SentNotices, now: Timestamp) -> impl Iterator<Item = ExpiryNotice> {
        self.unsent(sent)
            .filter(move |(_, due)| *due <= now)
            .map(|(notice, _)| notice)
    }

    /// Returns when the next unsent notice is due. `None` if none is left.
    #[must_use]
    pub fn next(self, sent: SentNotices) -> Option<Timestamp> {
        self.unsent(sent).map(|(_, due)| due).next()
    }

    fn unsent(self, sent: SentNotices) -> impl Iterator<Item = (ExpiryNotice, Timestamp)> {
        let all = ExpiryNotice::ALL.into_iter().zip(self.0);
        all.filter_map(move |(notice, due)| due.filter(|_| !sent.has(notice)).map(|due| (notice, due)))
    }
}

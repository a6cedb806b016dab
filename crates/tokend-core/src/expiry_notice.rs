//! What is told of a token's end: four warnings on the way there, and the end itself. Caller keys have the last three of these warnings.
//!
//! Each is told once for each token and never again, however its end is moved: what was told is kept as [`Told`]. One that is late,
//! because no server ran or because a policy brought the end nearer, is told late rather than never; one that was due before the token
//! was made is skipped. A token that is being replaced is not warned of: whoever rotated it knows. Of a revoked token, and of those of a
//! deleted workspace, nothing more is told.

use crate::{
    caller::CallerKey,
    time::Timestamp,
    token::{Expiry, Token},
    workspace::WorkspaceState,
};

/// Something that is told of a token's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpiryNotice {
    /// It ends in 60 days. Here and below a day has 24 hours.
    SixtyDays,
    /// It ends in 30 days.
    ThirtyDays,
    /// It ends in 7 days.
    SevenDays,
    /// It ends in a day.
    OneDay,
    /// It has ended.
    End,
}

/// What was told of a token's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(u8);

/// When each notice of a token is due, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticePlan([Option<Timestamp>; ExpiryNotice::ALL.len()]);

impl ExpiryNotice {
    /// Every notice, in the order in which they come.
    pub const ALL: [Self; 5] = [Self::SixtyDays, Self::ThirtyDays, Self::SevenDays, Self::OneDay, Self::End];

    /// How many days before the end it is due.
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

    /// When it is due for a token of that end.
    fn time(self, end: Timestamp) -> Timestamp {
        const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;
        end.saturating_add_micros(-i64::from(self.days()) * MICROS_PER_DAY)
    }

    /// Its bit among what was told. Stored: never to be given to another.
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Told {
    /// Nothing.
    pub const NOTHING: Self = Self(0);

    /// As it is stored; `None` for a number that says something else.
    #[must_use]
    pub fn from_bits(bits: i16) -> Option<Self> {
        let known = ExpiryNotice::ALL.iter().fold(0, |known, notice| known | notice.bit());
        u8::try_from(bits).ok().filter(|bits| bits & !known == 0).map(Self)
    }

    /// To store it.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.0.into()
    }

    /// Whether this was told.
    #[must_use]
    pub const fn has(self, notice: ExpiryNotice) -> bool {
        self.0 & notice.bit() != 0
    }

    /// This was told, too.
    #[must_use]
    pub const fn with(self, notice: ExpiryNotice) -> Self {
        Self(self.0 | notice.bit())
    }
}

impl Token {
    /// What is to be told of it in a workspace of that state, if `end` is its effective end.
    #[must_use]
    pub fn notice_plan(&self, workspace: WorkspaceState, end: Expiry) -> NoticePlan {
        let is_over = self.revocation.is_some() || matches!(workspace, WorkspaceState::Deleted { .. });
        let end = end.time().filter(|_| !is_over);
        let is_told = |notice, due| notice == ExpiryNotice::End || (due > self.create_time && !self.is_being_replaced());
        let due = |notice: ExpiryNotice| end.map(|end| notice.time(end)).filter(|due| is_told(notice, *due));
        NoticePlan(ExpiryNotice::ALL.map(due))
    }

    /// Whether it was rotated. A backup that is older than its successor knows that by its end.
    fn is_being_replaced(&self) -> bool {
        self.rotated_to.is_some() || self.own_expiry != self.requested_expiry
    }
}

impl CallerKey {
    /// The notices of its expiry: none once it is revoked. A key that replaces it is no reason to leave any out, since somebody may still use
    /// the old one.
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
    /// What is to be told at `now`, in order.
    pub fn due(self, told: Told, now: Timestamp) -> impl Iterator<Item = ExpiryNotice> {
        self.untold(told).filter(move |(_, due)| *due <= now).map(|(notice, _)| notice)
    }

    /// From when on there is something to tell; `None` if there never will be.
    #[must_use]
    pub fn next(self, told: Told) -> Option<Timestamp> {
        self.untold(told).map(|(_, due)| due).next()
    }

    fn untold(self, told: Told) -> impl Iterator<Item = (ExpiryNotice, Timestamp)> {
        let all = ExpiryNotice::ALL.into_iter().zip(self.0);
        all.filter_map(move |(notice, due)| due.filter(|_| !told.has(notice)).map(|due| (notice, due)))
    }
}

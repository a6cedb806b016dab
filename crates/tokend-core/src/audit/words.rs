/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The installation was made, with its first caller.
    InstallationCreated,
    /// The log begins here, although what it is about was there before: it was made by a tokend without a log.
    LogBegun,
    /// An organization was made.
    OrganizationCreated,
    /// A workspace was made.
    WorkspaceCreated,
    /// A workspace was suspended.
    WorkspaceSuspended,
    /// A suspended workspace was resumed.
    WorkspaceResumed,
    /// A workspace was deleted, and with it every token of it ended.
    WorkspaceDeleted,
    /// A token was issued.
    TokenCreated,
    /// A token was replaced by another, and ends with its overlap.
    TokenRotated,
    /// A token was ended.
    TokenRevoked,
    /// A token ends soon.
    TokenExpiring,
    /// A token's time is over.
    TokenExpired,
    /// A caller was made.
    CallerCreated,
    /// A caller was deleted, its keys with it.
    CallerDeleted,
    /// A caller got a key.
    CallerKeyCreated,
    /// A caller's key was ended.
    CallerKeyRevoked,
    /// A caller's key was reported as leaked. It goes on working: ending it is another event.
    CallerKeyLeaked,
    /// A key was added to the key ring.
    RingKeyAdded,
    /// A key of the key ring was made the one that signs.
    RingKeyActivated,
    /// A key of the key ring was retired.
    RingKeyRetired,
    /// What ended since a backup was ended again in the database restored from it.
    InstallationRestored,
    /// A call was refused.
    CallRefused,
}

impl EventType {
    /// The word in the database and in the contract: subject and verb.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstallationCreated => "installation.created",
            Self::LogBegun => "log.begun",
            Self::OrganizationCreated => "organization.created",
            Self::WorkspaceCreated => "workspace.created",
            Self::WorkspaceSuspended => "workspace.suspended",
            Self::WorkspaceResumed => "workspace.resumed",
            Self::WorkspaceDeleted => "workspace.deleted",
            Self::TokenCreated => "token.created",
            Self::TokenRotated => "token.rotated",
            Self::TokenRevoked => "token.revoked",
            Self::TokenExpiring => "token.expiring",
            Self::TokenExpired => "token.expired",
            Self::CallerCreated => "caller.created",
            Self::CallerDeleted => "caller.deleted",
            Self::CallerKeyCreated => "caller_key.created",
            Self::CallerKeyRevoked => "caller_key.revoked",
            Self::CallerKeyLeaked => "caller_key.leaked",
            Self::RingKeyAdded => "ring_key.added",
            Self::RingKeyActivated => "ring_key.activated",
            Self::RingKeyRetired => "ring_key.retired",
            Self::InstallationRestored => "installation.restored",
            Self::CallRefused => "call.refused",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, and nothing changed.
    Refused,
}

impl Outcome {
    /// The word in the database and in the contract, without its prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Refused => "REFUSED",
        }
    }

    /// The outcome of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Refused].into_iter().find(|outcome| outcome.as_str() == word)
    }
}

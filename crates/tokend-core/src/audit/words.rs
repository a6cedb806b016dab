/// The types of events, and the word of each in the database and in the contract: subject and verb.
macro_rules! event_types {
    ($($(#[$doc:meta])+ $variant:ident = $word:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType {
            $($(#[$doc])+ $variant,)+
        }

        impl EventType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in the database and in the contract.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

event_types! {
    /// The installation was made, with its first caller.
    InstallationCreated = "installation.created",
    /// The log begins here, although what it is about was there before: it was made by a tokend without a log.
    LogBegun = "log.begun",
    /// An organization was made.
    OrganizationCreated = "organization.created",
    /// A token policy was set, which may bring tokens' ends forward.
    PolicyUpdated = "policy.updated",
    /// A workspace was made.
    WorkspaceCreated = "workspace.created",
    /// A workspace was suspended.
    WorkspaceSuspended = "workspace.suspended",
    /// A suspended workspace was resumed.
    WorkspaceResumed = "workspace.resumed",
    /// A workspace was deleted, and with it every token of it ended.
    WorkspaceDeleted = "workspace.deleted",
    /// A token was issued.
    TokenCreated = "token.created",
    /// A token was replaced by another, and ends with its overlap.
    TokenRotated = "token.rotated",
    /// A token was ended.
    TokenRevoked = "token.revoked",
    /// A token ends soon.
    TokenExpiring = "token.expiring",
    /// A token's time is over.
    TokenExpired = "token.expired",
    /// A token that had ended was taken away.
    TokenPurged = "token.purged",
    /// A caller was made.
    CallerCreated = "caller.created",
    /// A caller was deleted, its keys with it.
    CallerDeleted = "caller.deleted",
    /// A caller got a key.
    CallerKeyCreated = "caller_key.created",
    /// A caller's key was ended.
    CallerKeyRevoked = "caller_key.revoked",
    /// A caller's key was reported as leaked. It goes on working: ending it is another event.
    CallerKeyLeaked = "caller_key.leaked",
    /// A caller's key expires soon.
    CallerKeyExpiring = "caller_key.expiring",
    /// A caller's key has expired.
    CallerKeyExpired = "caller_key.expired",
    /// A key was added to the key ring.
    RingKeyAdded = "ring_key.added",
    /// A key of the key ring was made the one that signs.
    RingKeyActivated = "ring_key.activated",
    /// A key of the key ring was retired.
    RingKeyRetired = "ring_key.retired",
    /// What ended since a backup was ended again in the database restored from it.
    InstallationRestored = "installation.restored",
    /// A call was refused.
    CallRefused = "call.refused",
}

impl EventType {
    /// The type of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
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

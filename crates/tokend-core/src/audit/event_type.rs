/// Declares the types of events, each with its name in the database and in the contract: `subject.verb`.
macro_rules! event_types {
    ($($(#[$doc:meta])+ $variant:ident = $word:literal,)+) => {
        /// The type of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType {
            $($(#[$doc])+ $variant,)+
        }

        impl EventType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name in the database and in the contract.
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
    /// The installation was created, with its first caller.
    InstallationCreated = "installation.created",
    /// The log starts here for data that an earlier version without an audit log created.
    LogBegun = "log.begun",
    /// An organization was created.
    OrganizationCreated = "organization.created",
    /// A token policy was set. This may make tokens expire earlier.
    PolicyUpdated = "policy.updated",
    /// A workspace was created.
    WorkspaceCreated = "workspace.created",
    /// A workspace was suspended.
    WorkspaceSuspended = "workspace.suspended",
    /// A suspended workspace was resumed.
    WorkspaceResumed = "workspace.resumed",
    /// A workspace was deleted, and all its tokens stopped working.
    WorkspaceDeleted = "workspace.deleted",
    /// A token was created.
    TokenCreated = "token.created",
    /// A token was replaced by another, and expires at the end of the overlap.
    TokenRotated = "token.rotated",
    /// A token was revoked.
    TokenRevoked = "token.revoked",
    /// A token will expire soon.
    TokenExpiring = "token.expiring",
    /// A token has expired.
    TokenExpired = "token.expired",
    /// An expired or revoked token was deleted from the database.
    TokenPurged = "token.purged",
    /// A caller was created.
    CallerCreated = "caller.created",
    /// A caller was deleted, together with its keys.
    CallerDeleted = "caller.deleted",
    /// A caller key was created.
    CallerKeyCreated = "caller_key.created",
    /// A caller key was revoked.
    CallerKeyRevoked = "caller_key.revoked",
    /// A caller key was reported as leaked. It keeps working until it is revoked.
    CallerKeyLeaked = "caller_key.leaked",
    /// A caller key will expire soon.
    CallerKeyExpiring = "caller_key.expiring",
    /// A caller key has expired.
    CallerKeyExpired = "caller_key.expired",
    /// A key was added to the key ring.
    RingKeyAdded = "ring_key.added",
    /// A key of the key ring became the active one.
    RingKeyActivated = "ring_key.activated",
    /// A key of the key ring was retired.
    RingKeyRetired = "ring_key.retired",
    /// Revocations since a backup were re-applied to the restored database.
    InstallationRestored = "installation.restored",
    /// A call was refused.
    CallRefused = "call.refused",
}

impl EventType {
    /// Returns the type with that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// Whether a change was made or a call refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// The call was refused, and nothing changed.
    Refused,
}

impl Outcome {
    /// Returns the name in the database and in the contract, there with the prefix `OUTCOME_`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Refused => "REFUSED",
        }
    }

    /// Returns the outcome with that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Refused]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

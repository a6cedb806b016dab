//! A change is one thing that happened in the database. Everything that tokend stores about it derives from it.
//!
//! ```text
//!                        +--> events:            the audit log
//! WriteTx --> Change ----+--> revocation_record: a line of the revocations file, which a restored backup learns from
//!                        +--> message:           the webhook
//!                        '--> subjects:          the feed, from which servers and SDKs learn what to look up again
//! ```
//!
//! A write transaction collects its changes, each with its initiator, and stores what derives from them just before it
//! commits.

mod event;
mod initiator;

pub use initiator::Initiator;

use crate::{
    caller::{Caller, CallerKey},
    credential::{Kid, Prefix},
    leak::LeakReport,
    lease::Subject,
    name::{CallerKeyName, TokenName},
    organization::Organization,
    policy::{PolicyName, PolicyState},
    revocation::RevocationRecord,
    time::Timestamp,
    token::expiry_notice::ExpiryNotice,
    token::{Expiry, Token},
    webhook::Message,
    workspace::Workspace,
};

/// Something that happened, with the data that describes it. Rows are as the change left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The installation was created.
    InstallationCreated,
    /// A database was restored from a backup, and revocations were applied to it again.
    InstallationRestored(RestoreSummary),
    /// An organization was created.
    OrganizationCreated(Organization),
    /// An organization's token policy was updated.
    OrganizationPolicyUpdated {
        /// The organization.
        organization: Organization,
        /// Its policy before.
        before: PolicyState,
    },
    /// A workspace was created.
    WorkspaceCreated(Workspace),
    /// A workspace was suspended, resumed or deleted, as its state says.
    WorkspaceStateChanged(Workspace),
    /// A workspace's token policy was updated.
    WorkspacePolicyUpdated {
        /// The workspace.
        workspace: Workspace,
        /// Its policy before.
        before: PolicyState,
    },
    /// A token was created, on its own or to replace the one in `rotated_from`.
    TokenCreated(Token),
    /// A token was replaced by the one in `rotated_to`.
    TokenRotated {
        /// The token.
        token: Token,
        /// When it would have expired otherwise.
        expiry_before: Expiry,
    },
    /// A rotated token expired early, because its successor was rotated too.
    TokenSuperseded {
        /// The token.
        token: Token,
        /// When it would have expired otherwise.
        expiry_before: Expiry,
    },
    /// A token was revoked. Its row has the revocation.
    TokenRevoked {
        /// The token.
        token: Token,
        /// The reports because of which it was revoked; empty if it was not reported as leaked.
        leaks: Vec<LeakReport>,
    },
    /// A token expires soon, or has expired. The row did not change.
    TokenExpiryNotice {
        /// The token.
        token: Token,
        /// Which notice.
        notice: ExpiryNotice,
        /// When it expires, policies considered.
        expiry: Expiry,
        /// When the notice was given.
        at: Timestamp,
    },
    /// A token that ended long ago was deleted.
    TokenPurged {
        /// The token.
        name: TokenName,
        /// Since when its end was on record.
        end_recorded: Timestamp,
    },
    /// A caller was created.
    CallerCreated(Caller),
    /// A caller was deleted with its keys.
    CallerDeleted {
        /// The caller.
        caller: Caller,
        /// When.
        at: Timestamp,
    },
    /// A caller key was created.
    CallerKeyCreated(CallerKey),
    /// A caller key was revoked.
    CallerKeyRevoked {
        /// The key.
        key: CallerKey,
        /// When.
        at: Timestamp,
    },
    /// A caller key was reported as leaked. It still works.
    CallerKeyLeaked {
        /// The key.
        name: CallerKeyName,
        /// The reports.
        reports: Vec<LeakReport>,
    },
    /// A caller key expires soon, or has expired. The row did not change.
    CallerKeyExpiryNotice {
        /// The key.
        key: CallerKey,
        /// Which notice.
        notice: ExpiryNotice,
        /// When the notice was given.
        at: Timestamp,
    },
    /// A key was added to the key ring.
    RingKeyAdded(Kid),
    /// A key of the key ring became the one that signs.
    RingKeyActivated(Kid),
    /// A key of the key ring was retired.
    RingKeyRetired(Kid),
}

/// What was applied again to a database that was restored from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Where the revocations came from.
    pub source: RestoreSource,
    /// How many policies were set.
    pub policies: u64,
    /// How many workspaces were suspended, resumed or deleted.
    pub workspaces: u64,
    /// How many tokens were revoked, or expire earlier.
    pub tokens: u64,
    /// How many callers were deleted.
    pub callers: u64,
    /// How many caller keys were revoked.
    pub caller_keys: u64,
}

/// Where a restore takes revocations from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreSource {
    /// An export of revocations.
    Export,
    /// There is none: every token is revoked.
    RevokeAll,
}

impl Change {
    /// Returns the line of the revocations file, for a change that a restored backup must not undo. Such a change may
    /// also change verdicts, so that its transaction takes a revision.
    #[must_use]
    pub fn revocation_record(&self) -> Option<RevocationRecord> {
        match self {
            Self::OrganizationPolicyUpdated {
                organization,
                before: _,
            } => Some(RevocationRecord::Policy {
                name: PolicyName::Organization(organization.id.clone()),
                create_time: organization.create_time,
                state: organization.policy.clone(),
            }),
            Self::WorkspaceStateChanged(workspace) => Some(RevocationRecord::Workspace {
                id: workspace.id.clone(),
                create_time: workspace.create_time,
                state: workspace.state,
            }),
            Self::WorkspacePolicyUpdated { workspace, before: _ } => Some(RevocationRecord::Policy {
                name: PolicyName::Workspace(workspace.id.clone()),
                create_time: workspace.create_time,
                state: workspace.policy.clone(),
            }),
            Self::TokenRotated { token, expiry_before } | Self::TokenSuperseded { token, expiry_before } => {
                match token.own_expiry {
                    Expiry::At(end) if token.own_expiry != *expiry_before => Some(RevocationRecord::TokenRotated {
                        name: token.name.clone(),
                        end,
                    }),
                    Expiry::At(_) | Expiry::Never => None,
                }
            }
            Self::TokenRevoked { token, leaks: _ } => {
                token.revocation.clone().map(|revocation| RevocationRecord::Token {
                    name: token.name.clone(),
                    revocation,
                })
            }
            Self::CallerDeleted { caller, at } => Some(RevocationRecord::Caller {
                id: caller.id.clone(),
                create_time: caller.create_time,
                at: *at,
            }),
            Self::CallerKeyRevoked { key, at } => Some(RevocationRecord::CallerKey {
                name: key.name.clone(),
                at: *at,
            }),
            Self::InstallationCreated
            | Self::InstallationRestored(_)
            | Self::OrganizationCreated(_)
            | Self::WorkspaceCreated(_)
            | Self::TokenCreated(_)
            | Self::TokenExpiryNotice { .. }
            | Self::TokenPurged { .. }
            | Self::CallerCreated(_)
            | Self::CallerKeyCreated(_)
            | Self::CallerKeyLeaked { .. }
            | Self::CallerKeyExpiryNotice { .. }
            | Self::RingKeyAdded(_)
            | Self::RingKeyActivated(_)
            | Self::RingKeyRetired(_) => None,
        }
    }

    /// Returns what is outdated in the memory of servers and SDKs once the change is committed. A change for which this is
    /// not empty takes a revision.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        match self {
            Self::OrganizationPolicyUpdated {
                organization,
                before: _,
            } => vec![Subject::Organization(organization.id.clone())],
            Self::WorkspaceStateChanged(workspace) | Self::WorkspacePolicyUpdated { workspace, before: _ } => {
                vec![Subject::Workspace(workspace.id.clone())]
            }
            Self::TokenRotated {
                token,
                expiry_before: _,
            }
            | Self::TokenSuperseded {
                token,
                expiry_before: _,
            }
            | Self::TokenRevoked { token, leaks: _ } => vec![Subject::Token(token.name.clone())],
            Self::TokenPurged { name, end_recorded: _ } => vec![Subject::Token(name.clone())],
            // A certificate that belonged to one caller may belong to two now.
            Self::CallerCreated(caller) if !caller.certificate_sans.is_empty() => vec![Subject::Certificates],
            Self::CallerDeleted { caller, at: _ } => vec![Subject::Caller(caller.id.clone())],
            Self::CallerKeyRevoked { key, at: _ } => vec![Subject::Caller(key.name.caller.clone())],
            Self::InstallationCreated
            | Self::InstallationRestored(_)
            | Self::OrganizationCreated(_)
            | Self::WorkspaceCreated(_)
            | Self::TokenCreated(_)
            | Self::TokenExpiryNotice { .. }
            | Self::CallerCreated(_)
            | Self::CallerKeyCreated(_)
            | Self::CallerKeyLeaked { .. }
            | Self::CallerKeyExpiryNotice { .. }
            | Self::RingKeyAdded(_)
            | Self::RingKeyActivated(_)
            | Self::RingKeyRetired(_) => Vec::new(),
        }
    }

    /// Returns the message to the webhook. Only notices of expiry have one.
    #[must_use]
    pub fn message(&self, prefix: &Prefix) -> Option<Message> {
        match self {
            Self::TokenExpiryNotice {
                token,
                notice,
                expiry,
                at,
            } => {
                let end = expiry.time()?;
                Some(Message::of_notice(*notice, token, end, prefix, *at))
            }
            Self::CallerKeyExpiryNotice { key, notice, at } => Some(Message::of_key_notice(*notice, key, prefix, *at)),
            _ => None,
        }
    }
}

//! The audit events of changes.

use super::{Change, Initiator, RestoreSource, RestoreSummary};
use crate::{
    audit::{Chain, Event, EventType, Outcome, RowAfter},
    caller::{Caller, CallerKey, WorkspaceAccess},
    credential::CredentialId,
    keyring::KeyRing,
    leak::LeakReport,
    name::TokenName,
    organization::Organization,
    policy::PolicyState,
    row_mac::Sealed,
    time::Timestamp,
    token::expiry_notice::ExpiryNotice,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};

/// Most workspaces that the event of a caller names.
const NAMED_WORKSPACES: usize = 16;

impl Change {
    /// Returns the audit events: one, or two for a workspace that was created, because its own chain could be deleted
    /// as a whole.
    #[must_use]
    pub fn events(&self, initiator: &Initiator, ring: &KeyRing) -> Vec<Event> {
        let mut events = self.draft(ring);
        for event in &mut events {
            event.origin = initiator.origin();
            // A restore ends with an event of its own that counts what was restored.
            if event.kind != EventType::InstallationRestored {
                event.detail = initiator.detail(std::mem::take(&mut event.detail));
            }
        }
        events
    }

    /// Returns the events as if tokend had made the change.
    fn draft(&self, ring: &KeyRing) -> Vec<Event> {
        let event = match self {
            Self::InstallationCreated => installation(EventType::InstallationCreated),
            Self::InstallationRestored(summary) => Event {
                detail: restore_detail(summary),
                ..installation(EventType::InstallationRestored)
            },
            Self::OrganizationCreated(organization) => {
                of_organization(EventType::OrganizationCreated, organization, ring)
            }
            Self::OrganizationPolicyUpdated { organization, before } => Event {
                detail: policy_detail(before, &organization.policy),
                ..of_organization(EventType::PolicyUpdated, organization, ring)
            },
            Self::WorkspaceCreated(workspace) => return workspace_created(workspace, ring),
            Self::WorkspaceStateChanged(workspace) => {
                let kind = match workspace.state {
                    WorkspaceState::Active => EventType::WorkspaceResumed,
                    WorkspaceState::Suspended { .. } => EventType::WorkspaceSuspended,
                    WorkspaceState::Deleted { .. } => EventType::WorkspaceDeleted,
                };
                of_workspace(kind, workspace, ring)
            }
            Self::WorkspacePolicyUpdated { workspace, before } => Event {
                detail: policy_detail(before, &workspace.policy),
                ..of_workspace(EventType::PolicyUpdated, workspace, ring)
            },
            Self::TokenCreated(token) => Event {
                detail: creation_detail(token),
                ..of_token(EventType::TokenCreated, token, is(token, ring))
            },
            Self::TokenRotated {
                token,
                expiry_before: _,
            } => Event {
                detail: successor(token).map_or_else(String::new, |name| format!("replaced by {name}")),
                ..of_token(EventType::TokenRotated, token, is(token, ring))
            },
            Self::TokenSuperseded {
                token,
                expiry_before: _,
            } => Event {
                detail: successor(token).map_or_else(String::new, |name| {
                    format!("ends now: {name}, which replaced it, is replaced")
                }),
                ..of_token(EventType::TokenRotated, token, is(token, ring))
            },
            Self::TokenRevoked { token, leaks } => Event {
                reason: token
                    .revocation
                    .as_ref()
                    .map_or_else(String::new, |revocation| revocation.reason.as_str().to_owned()),
                detail: if leaks.is_empty() {
                    String::new()
                } else {
                    LeakReport::detail(leaks)
                },
                ..of_token(EventType::TokenRevoked, token, is(token, ring))
            },
            // A digest of the unchanged row would let an older row, put in its place, pass for the last change.
            Self::TokenExpiryNotice {
                token,
                notice,
                expiry,
                at: _,
            } => {
                let (kind, detail) = token_notice(*notice, *expiry);
                Event {
                    detail,
                    ..of_token(kind, token, RowAfter::None)
                }
            }
            Self::TokenPurged { name, end_recorded } => Event {
                detail: format!("its end was on record since {end_recorded}"),
                row: RowAfter::Gone,
                ..event(
                    Chain::Workspace(name.workspace.clone()),
                    EventType::TokenPurged,
                    name.to_string(),
                )
            },
            Self::CallerCreated(caller) => Event {
                detail: permission(caller),
                row: is(caller, ring),
                ..event(Chain::Installation, EventType::CallerCreated, caller.id.name())
            },
            Self::CallerDeleted { caller, at: _ } => Event {
                detail: permission(caller),
                row: RowAfter::Gone,
                ..event(Chain::Installation, EventType::CallerDeleted, caller.id.name())
            },
            Self::CallerKeyCreated(key) => Event {
                detail: format!("works for {} s", seconds_between(key.create_time, key.expire_time)),
                ..of_key(EventType::CallerKeyCreated, key, is(key, ring))
            },
            Self::CallerKeyRevoked { key, at: _ } => of_key(EventType::CallerKeyRevoked, key, is(key, ring)),
            Self::CallerKeyLeaked { name, reports } => Event {
                detail: LeakReport::detail(reports),
                ..event(Chain::Installation, EventType::CallerKeyLeaked, name.to_string())
            },
            Self::CallerKeyExpiryNotice { key, notice, at: _ } => {
                let (kind, detail) = key_notice(*notice, key.expire_time);
                Event {
                    detail,
                    ..of_key(kind, key, RowAfter::None)
                }
            }
            Self::RingKeyAdded(kid) => Event {
                detail: format!("key {kid}"),
                ..installation(EventType::RingKeyAdded)
            },
            Self::RingKeyActivated(kid) => Event {
                detail: format!("key {kid}"),
                ..installation(EventType::RingKeyActivated)
            },
            Self::RingKeyRetired(kid) => Event {
                detail: format!("key {kid}"),
                ..installation(EventType::RingKeyRetired)
            },
        };
        vec![event]
    }
}

fn event(chain: Chain, kind: EventType, resource: String) -> Event {
    Event {
        chain,
        kind,
        origin: Initiator::System.origin(),
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: String::new(),
        row: RowAfter::None,
    }
}

/// Of the installation as a whole, which has no name.
fn installation(kind: EventType) -> Event {
    event(Chain::Installation, kind, String::new())
}

fn of_organization(kind: EventType, organization: &Organization, ring: &KeyRing) -> Event {
    Event {
        row: is(organization, ring),
        ..event(Chain::Installation, kind, organization.id.name())
    }
}

fn of_workspace(kind: EventType, workspace: &Workspace, ring: &KeyRing) -> Event {
    Event {
        row: is(workspace, ring),
        ..event(Chain::Workspace(workspace.id.clone()), kind, workspace.id.name())
    }
}

fn of_token(kind: EventType, token: &Token, row: RowAfter) -> Event {
    Event {
        row,
        ..event(
            Chain::Workspace(token.name.workspace.clone()),
            kind,
            token.name.to_string(),
        )
    }
}

fn of_key(kind: EventType, key: &CallerKey, row: RowAfter) -> Event {
    Event {
        row,
        ..event(Chain::Installation, kind, key.name.to_string())
    }
}

fn is<T: Sealed>(row: &T, ring: &KeyRing) -> RowAfter {
    RowAfter::Is(ring.audit_digest(row))
}

fn workspace_created(workspace: &Workspace, ring: &KeyRing) -> Vec<Event> {
    let organization = workspace.organization.as_ref();
    vec![
        event(Chain::Installation, EventType::WorkspaceCreated, workspace.id.name()),
        Event {
            detail: organization.map_or_else(String::new, |organization| format!("in {}", organization.name())),
            ..of_workspace(EventType::WorkspaceCreated, workspace, ring)
        },
    ]
}

/// What an update changed. Empty where one of the policies was written by a later version.
fn policy_detail(before: &PolicyState, after: &PolicyState) -> String {
    match (before.policy(), after.policy()) {
        (Ok(before), Ok(after)) => before.changes(&after),
        _ => String::new(),
    }
}

/// What a new token permits, for how long, and which token it replaces.
fn creation_detail(token: &Token) -> String {
    let scopes: Vec<_> = token.scopes.granted().iter().map(|scope| scope.as_str()).collect();
    let end = match token.own_expiry {
        Expiry::Never => "without an end".to_owned(),
        Expiry::At(end) => format!("for {} s", seconds_between(token.create_time, end)),
    };
    let replaces = token
        .rotated_from
        .map_or_else(String::new, |id| format!(", to replace {}", sibling(token, id)));
    format!("{} on {}, {end}{replaces}", scopes.join(" "), token.resource)
}

fn successor(token: &Token) -> Option<TokenName> {
    token.rotated_to.map(|id| sibling(token, id))
}

/// Another token of the same workspace.
fn sibling(token: &Token, id: CredentialId) -> TokenName {
    TokenName {
        workspace: token.name.workspace.clone(),
        id,
    }
}

fn token_notice(notice: ExpiryNotice, expiry: Expiry) -> (EventType, String) {
    let end = expiry.time().map(|end| end.to_string()).unwrap_or_default();
    match notice {
        ExpiryNotice::End => (EventType::TokenExpired, format!("ended at {end}")),
        ExpiryNotice::OneDay => (EventType::TokenExpiring, format!("1 day before its end at {end}")),
        ExpiryNotice::SixtyDays | ExpiryNotice::ThirtyDays | ExpiryNotice::SevenDays => (
            EventType::TokenExpiring,
            format!("{} days before its end at {end}", notice.days()),
        ),
    }
}

fn key_notice(notice: ExpiryNotice, at: Timestamp) -> (EventType, String) {
    match notice {
        ExpiryNotice::End => (EventType::CallerKeyExpired, format!("expired at {at}")),
        ExpiryNotice::OneDay => (EventType::CallerKeyExpiring, format!("1 day before it expires at {at}")),
        ExpiryNotice::SixtyDays | ExpiryNotice::ThirtyDays | ExpiryNotice::SevenDays => (
            EventType::CallerKeyExpiring,
            format!("{} days before it expires at {at}", notice.days()),
        ),
    }
}

/// What a caller may do and where.
fn permission(caller: &Caller) -> String {
    let role = caller.role.as_str();
    match &caller.workspaces {
        WorkspaceAccess::All => format!("{role} in every workspace"),
        WorkspaceAccess::Only(only) => {
            let names: Vec<_> = only.iter().take(NAMED_WORKSPACES).map(|id| id.as_str()).collect();
            let more = if only.len() > names.len() { ", ..." } else { "" };
            format!("{role} in {} workspaces: {}{more}", only.len(), names.join(", "))
        }
    }
}

fn restore_detail(summary: &RestoreSummary) -> String {
    let RestoreSummary {
        source,
        policies,
        workspaces,
        tokens,
        callers,
        caller_keys,
    } = summary;
    let how = match source {
        RestoreSource::Export => "by an export",
        RestoreSource::RevokeAll => "by revoking every token",
    };
    format!(
        "{how}: {policies} policies set, and {workspaces} workspaces, {tokens} tokens, {callers} callers, \
         {caller_keys} caller keys ended again"
    )
}

fn seconds_between(start: Timestamp, end: Timestamp) -> u64 {
    end.saturating_since(start).as_secs()
}

//! What derives from each change: audit events, the line of the revocations file and the message to the webhook.

use tokend_core::{
    audit::{Chain, Event, Origin, Outcome, RowAfter},
    change::{Change, Initiator, RestoreSource, RestoreSummary},
    leak::{LeakReport, LeakSource, LeakUrl},
    policy::{PolicyName, PolicyState},
    revocation::RevocationRecord,
    token::expiry_notice::ExpiryNotice,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};

use crate::samples::{
    at, caller, caller_key, kid, organization, policy_state, revocation, ring, token, workspace, workspace_id,
};

const TOKEN: &str = "workspaces/acme/tokens/";
const KEY: &str = "callers/ci/keys/";

fn changes() -> Vec<Change> {
    let before = PolicyState::default();
    let (rotated, expiry_before) = (token(), Expiry::Never);
    let deleted = Workspace {
        state: WorkspaceState::Deleted { at: at(5) },
        ..workspace()
    };
    let resumed = Workspace {
        state: WorkspaceState::Active,
        ..workspace()
    };
    vec![
        Change::InstallationCreated,
        Change::InstallationRestored(summary()),
        Change::OrganizationCreated(organization()),
        Change::OrganizationPolicyUpdated {
            organization: organization(),
            before: before.clone(),
        },
        Change::WorkspaceCreated(workspace()),
        Change::WorkspaceStateChanged(workspace()),
        Change::WorkspaceStateChanged(resumed),
        Change::WorkspaceStateChanged(deleted),
        Change::WorkspacePolicyUpdated {
            workspace: workspace(),
            before,
        },
        Change::TokenCreated(token()),
        Change::TokenRotated {
            token: rotated.clone(),
            expiry_before,
        },
        Change::TokenSuperseded {
            token: rotated,
            expiry_before,
        },
        Change::TokenRevoked {
            token: token(),
            leaks: Vec::new(),
        },
        token_notice(ExpiryNotice::ThirtyDays),
        token_notice(ExpiryNotice::OneDay),
        token_notice(ExpiryNotice::End),
        Change::TokenPurged {
            name: token().name,
            end_recorded: at(0),
        },
        Change::CallerCreated(caller()),
        Change::CallerDeleted {
            caller: caller(),
            at: at(6),
        },
        Change::CallerKeyCreated(caller_key()),
        Change::CallerKeyRevoked {
            key: caller_key(),
            at: at(7),
        },
        Change::CallerKeyLeaked {
            name: caller_key().name,
            reports: vec![report()],
        },
        key_notice(ExpiryNotice::SevenDays),
        key_notice(ExpiryNotice::OneDay),
        key_notice(ExpiryNotice::End),
        Change::RingKeyAdded(kid(b'1')),
        Change::RingKeyActivated(kid(b'1')),
        Change::RingKeyRetired(kid(b'0')),
    ]
}

fn summary() -> RestoreSummary {
    RestoreSummary {
        source: RestoreSource::Export,
        policies: 1,
        workspaces: 2,
        tokens: 3,
        callers: 4,
        caller_keys: 5,
    }
}

fn report() -> LeakReport {
    let (url, source) = ("https://example.com".to_owned(), "gist".to_owned());
    LeakReport::new(
        &LeakUrl::new(url).expect("short"),
        &LeakSource::new(source).expect("short"),
    )
}

fn token_notice(notice: ExpiryNotice) -> Change {
    Change::TokenExpiryNotice {
        token: token(),
        notice,
        expiry: Expiry::At(at(0)),
        at: at(1),
    }
}

fn key_notice(notice: ExpiryNotice) -> Change {
    Change::CallerKeyExpiryNotice {
        key: caller_key(),
        notice,
        at: at(1),
    }
}

/// Formats an event: chain, kind, resource without its last part, the state of the row, and the detail.
fn short(event: Event) -> String {
    let Event {
        chain,
        kind,
        origin: _,
        resource,
        outcome,
        reason,
        detail,
        row,
    } = event;
    assert_eq!(outcome, Outcome::Done);
    let resource = resource.replace(&token().name.id.to_string(), "ID");
    let row = match row {
        RowAfter::None => "none",
        RowAfter::Is(_) => "is",
        RowAfter::Gone => "gone",
    };
    format!("{chain} {} [{resource}] {row} [{reason}] {detail}", kind.as_str())
        .replace(&sibling(0x0f), "SUCCESSOR")
        .replace(&sibling(0xf0), "PREDECESSOR")
}

fn sibling(byte: u8) -> String {
    let id = tokend_core::credential::CredentialId::from_bytes([byte; tokend_core::credential::CredentialId::BYTES]);
    format!("{TOKEN}{id}")
}

fn events(initiator: &Initiator) -> Vec<String> {
    let ring = ring();
    let events = changes().into_iter().flat_map(|change| change.events(initiator, &ring));
    events.map(short).collect()
}

#[test]
fn each_change_has_its_events() {
    let expected = format!(
        r"- installation.created [] none [] 
- installation.restored [] none [] by an export: 1 policies set, and 2 workspaces, 3 tokens, 4 callers, 5 caller keys ended again
- organization.created [organizations/initech] is [] 
- policy.updated [organizations/initech] is [] max_lifetime: none -> 3600 s; existing_tokens: KEEP -> APPLY
- workspace.created [workspaces/acme] none [] 
acme workspace.created [workspaces/acme] is [] in organizations/initech
acme workspace.suspended [workspaces/acme] is [] 
acme workspace.resumed [workspaces/acme] is [] 
acme workspace.deleted [workspaces/acme] is [] 
acme policy.updated [workspaces/acme] is [] max_lifetime: none -> 3600 s; existing_tokens: KEEP -> APPLY
acme token.created [{TOKEN}ID] is [] repository:write on workspaces/acme/projects/web, for 100000000 s, to replace PREDECESSOR
acme token.rotated [{TOKEN}ID] is [] replaced by SUCCESSOR
acme token.rotated [{TOKEN}ID] is [] ends now: SUCCESSOR, which replaced it, is replaced
acme token.revoked [{TOKEN}ID] is [leaked] 
acme token.expiring [{TOKEN}ID] none [] 30 days before its end at 1970-01-01T00:00:00Z
acme token.expiring [{TOKEN}ID] none [] 1 day before its end at 1970-01-01T00:00:00Z
acme token.expired [{TOKEN}ID] none [] ended at 1970-01-01T00:00:00Z
acme token.purged [{TOKEN}ID] gone [] its end was on record since 1970-01-01T00:00:00Z
- caller.created [callers/ci] is [] VERIFIER in 2 workspaces: acme, beta
- caller.deleted [callers/ci] gone [] VERIFIER in 2 workspaces: acme, beta
- caller_key.created [{KEY}ID] is [] works for 100000000 s
- caller_key.revoked [{KEY}ID] is [] 
- caller_key.leaked [{KEY}ID] none [] reported as leaked: source gist, at https://example.com
- caller_key.expiring [{KEY}ID] none [] 7 days before it expires at 2027-01-15T08:00:00Z
- caller_key.expiring [{KEY}ID] none [] 1 day before it expires at 2027-01-15T08:00:00Z
- caller_key.expired [{KEY}ID] none [] expired at 2027-01-15T08:00:00Z
- ring_key.added [] none [] key 1
- ring_key.activated [] none [] key 1
- ring_key.retired [] none [] key 0"
    );
    let expected: Vec<_> = expected.lines().collect();
    assert_eq!(events(&Initiator::System), expected);
    let origin = Origin {
        caller: Some("ops".parse().expect("an id")),
        actor: Some("ada".parse().expect("an actor")),
        address: Some("192.0.2.1".parse().expect("an address")),
    };
    let by_caller = Initiator::Caller(origin.clone());
    assert_eq!(events(&by_caller), expected);
    for change in changes() {
        for event in change.events(&by_caller, &ring()) {
            assert_eq!(event.origin, origin, "{change:?}");
        }
    }
}

#[test]
fn an_event_contains_the_digest_of_the_new_row() {
    let ring = ring();
    let revoked = Change::TokenRevoked {
        token: token(),
        leaks: Vec::new(),
    };
    let [event] = revoked.events(&Initiator::System, &ring).try_into().expect("one event");
    assert_eq!(event.row, RowAfter::Is(ring.audit_digest(&token())));
}

#[test]
fn some_initiators_add_a_detail() {
    for (initiator, detail) in [
        (Initiator::Initialization, ""),
        (Initiator::Recovery, "by tokend init --recover"),
        (Initiator::Restore, "restored from a backup"),
    ] {
        for change in changes() {
            for event in change.events(&initiator, &ring()) {
                assert_eq!(event.origin, Origin::default(), "{change:?}");
                match &change {
                    Change::InstallationRestored(_) => assert!(event.detail.starts_with("by an export: "), "{event:?}"),
                    _ => assert_eq!(event.detail, detail, "{change:?}"),
                }
                let reason = if matches!(change, Change::TokenRevoked { .. }) {
                    "leaked"
                } else {
                    ""
                };
                assert_eq!(event.reason, reason, "{change:?}");
            }
        }
    }
}

#[test]
fn a_reported_token_has_the_source_of_the_leak() {
    let change = Change::TokenRevoked {
        token: token(),
        leaks: vec![report()],
    };
    let [event] = change
        .events(&Initiator::System, &ring())
        .try_into()
        .expect("one event");
    assert_eq!(event.reason, "leaked");
    assert_eq!(event.detail, "reported as leaked: source gist, at https://example.com");
}

#[test]
fn changes_that_a_restore_must_not_undo_have_a_line() {
    let records: Vec<_> = changes().iter().filter_map(Change::revocation_record).collect();
    let policy = |name| RevocationRecord::Policy {
        name,
        create_time: workspace().create_time,
        state: policy_state(),
    };
    let state = |state| RevocationRecord::Workspace {
        id: workspace_id("acme"),
        create_time: workspace().create_time,
        state,
    };
    let rotated = RevocationRecord::TokenRotated {
        name: token().name,
        end: at(1_800_000_000_000_000),
    };
    assert_eq!(
        records,
        [
            policy(PolicyName::Organization(organization().id)),
            state(workspace().state),
            state(WorkspaceState::Active),
            state(WorkspaceState::Deleted { at: at(5) }),
            policy(PolicyName::Workspace(workspace_id("acme"))),
            rotated.clone(),
            rotated,
            RevocationRecord::Token {
                name: token().name,
                revocation: revocation(),
            },
            RevocationRecord::Caller {
                id: caller().id,
                create_time: caller().create_time,
                at: at(6),
            },
            RevocationRecord::CallerKey {
                name: caller_key().name,
                at: at(7),
            },
        ]
    );
}

#[test]
fn a_rotation_that_moves_no_expiry_has_no_line() {
    for (own_expiry, expiry_before) in [(Expiry::At(at(9)), Expiry::At(at(9))), (Expiry::Never, Expiry::Never)] {
        let token = Token { own_expiry, ..token() };
        let change = Change::TokenRotated { token, expiry_before };
        assert_eq!(change.revocation_record(), None);
    }
}

#[test]
fn notices_of_expiry_have_a_message() {
    let ring = ring();
    let messages = changes().into_iter().filter_map(|change| change.message(ring.prefix()));
    let kinds: Vec<_> = messages.map(|message| message.event).collect();
    assert_eq!(
        kinds,
        [
            "token.expiring",
            "token.expiring",
            "token.expired",
            "caller_key.expiring",
            "caller_key.expiring",
            "caller_key.expired"
        ]
    );
    let endless = Change::TokenExpiryNotice {
        token: token(),
        notice: ExpiryNotice::End,
        expiry: Expiry::Never,
        at: at(1),
    };
    assert_eq!(endless.message(ring.prefix()), None);
}

#[test]
fn a_workspace_is_created_in_two_chains() {
    let [first, second] = Change::WorkspaceCreated(workspace())
        .events(&Initiator::System, &ring())
        .try_into()
        .expect("two events");
    assert_eq!(first.chain, Chain::Installation);
    assert_eq!(second.chain, Chain::Workspace(workspace_id("acme")));
}

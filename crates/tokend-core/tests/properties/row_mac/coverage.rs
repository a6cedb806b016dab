//! Every field that a MAC has to cover, changed on its own.

use std::{fmt, time::Duration};

use tokend_core::{
    address::AllowedAddresses,
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    credential::SecretDigest,
    feed::{FeedEntry, FeedHead, Revision},
    labels::Labels,
    lease::{Subject, Terms},
    organization::Organization,
    policy::{Deadlines, PolicyState},
    row_mac::Sealed,
    text::{Description, DisplayName, Reason},
    time::Timestamp,
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};

use super::{deadlines, grant, other_id, san};
use crate::samples::{
    at, caller, caller_key, kid, only, organization, resource, revocation, ring, token, workspace, workspace_id,
    workspace_ids,
};

/// The name of a field, and a change to it.
type Change<T> = (&'static str, fn(&mut T));

/// Checks that each change of `row` breaks its MAC, and that no two changes give the same MAC.
fn assert_covered<T: Sealed + Clone + fmt::Debug>(row: &T, changes: &[Change<T>]) {
    let ring = ring();
    let mac = ring.seal(row);
    assert!(ring.is_intact(row, &mac));
    let mut seen = vec![mac];
    for (what, change) in changes {
        let mut changed = row.clone();
        change(&mut changed);
        assert!(!ring.is_intact(&changed, &mac), "{what}");
        let theirs = ring.seal(&changed);
        assert!(
            ring.is_intact(&changed, &theirs) && !ring.is_intact(row, &theirs),
            "{what}"
        );
        assert!(!seen.contains(&theirs), "{what} is taken for another change");
        seen.push(theirs);
    }
}

fn assert_not_covered<T: Sealed + Clone>(row: &T, change: impl FnOnce(&mut T)) {
    let mut changed = row.clone();
    change(&mut changed);
    assert!(ring().is_intact(&changed, &ring().seal(row)));
}

#[test]
fn every_covered_field_of_a_token() {
    // A new field of a token fails to compile here: cover it below, or add it to those that are not covered.
    let Token {
        name: _,
        digest: _,
        resource: _,
        display_name: _,
        description: _,
        scopes: _,
        allowed_addresses: _,
        labels: _,
        create_time: _,
        creator: _,
        own_expiry: _,
        requested_expiry: _,
        revocation: _,
        rotated_from: _,
        rotated_to: _,
    } = token();
    assert_covered::<Token>(
        &token(),
        &[
            ("workspace", |row| row.name.workspace = workspace_id("acme2")),
            ("id", |row| row.name.id = other_id()),
            ("digest", |row| {
                row.digest = SecretDigest::from_stored(kid(b'0'), [0x12; 32])
            }),
            ("digest's key", |row| {
                row.digest = SecretDigest::from_stored(kid(b'1'), [0x11; 32])
            }),
            ("wider resource", |row| row.resource = resource("workspaces/acme")),
            ("other resource", |row| {
                row.resource = resource("workspaces/acme/projects/web2")
            }),
            ("display name", |row| {
                row.display_name = DisplayName::new("other".to_owned()).expect("well-formed")
            }),
            ("labels", |row| row.labels = Labels::default()),
            ("catalogue version", |row| {
                row.scopes = grant(2, &["repository:write"], &["repository", "repository:write"])
            }),
            ("granted", |row| {
                row.scopes = grant(1, &["repository"], &["repository", "repository:write"])
            }),
            ("effective, wider", |row| {
                row.scopes = grant(1, &["repository:write"], &["repository", "repository:write", "webhook"]);
            }),
            ("effective, narrower", |row| {
                row.scopes = grant(1, &["repository:write"], &["repository:write"])
            }),
            ("granted moved to effective", |row| {
                row.scopes = grant(
                    1,
                    &["repository:write", "repository"],
                    &["repository:write", "repository"],
                );
            }),
            ("from anywhere", |row| row.allowed_addresses = AllowedAddresses::Any),
            ("one network less", |row| {
                row.allowed_addresses = only(&["192.0.2.0/24"])
            }),
            ("wider network", |row| {
                row.allowed_addresses = only(&["192.0.2.0/23", "2001:db8::/32"])
            }),
            ("create time", |row| {
                row.create_time = row.create_time.saturating_add_micros(1)
            }),
            ("creator", |row| row.creator = "cj".parse().expect("well-formed")),
            ("later expiry", |row| {
                row.own_expiry = Expiry::At(at(1_800_000_000_000_001))
            }),
            ("no expiry", |row| row.own_expiry = Expiry::Never),
            ("other requested expiry", |row| row.requested_expiry = row.own_expiry),
            ("no requested expiry", |row| row.requested_expiry = Expiry::Never),
            ("not rotated", |row| row.rotated_from = None),
            ("rotated from another", |row| row.rotated_from = Some(other_id())),
            ("not replaced", |row| row.rotated_to = None),
            ("replaced by another", |row| row.rotated_to = Some(other_id())),
            ("replaced by what it replaced", |row| {
                std::mem::swap(&mut row.rotated_from, &mut row.rotated_to)
            }),
            ("revived", |row| row.revocation = None),
            ("revoked later", |row| {
                row.revocation = Some(Revocation {
                    at: at(1_750_000_000_000_001),
                    ..revocation()
                })
            }),
            ("revoked by another", |row| {
                row.revocation = Some(Revocation {
                    by: "ci".parse().expect("well-formed"),
                    ..revocation()
                });
            }),
        ],
    );
    // Fields that only people read decide nothing.
    assert_not_covered(&token(), |row| {
        row.description = Description::new(String::new()).expect("well-formed")
    });
    assert_not_covered(&token(), |row| {
        row.revocation = Some(Revocation {
            reason: Reason::new(String::new()).expect("well-formed"),
            ..revocation()
        });
    });
}

#[test]
fn every_covered_field_of_a_workspace() {
    let Workspace {
        id: _,
        display_name: _,
        organization: _,
        state: _,
        create_time: _,
        policy: _,
    } = workspace();
    assert_covered::<Workspace>(
        &workspace(),
        &[
            ("id", |row| row.id = workspace_id("acme2")),
            ("another organization", |row| {
                row.organization = Some("initrode".parse().expect("well-formed"))
            }),
            ("no organization", |row| row.organization = None),
            ("resumed", |row| row.state = WorkspaceState::Active),
            ("suspended earlier", |row| {
                row.state = WorkspaceState::Suspended { at: at(1) }
            }),
            ("deleted", |row| {
                row.state = WorkspaceState::Deleted {
                    at: at(1_750_000_000_000_000),
                }
            }),
            ("deleted earlier", |row| {
                row.state = WorkspaceState::Deleted { at: at(1) }
            }),
            ("create time", |row| row.create_time = at(0)),
            ("no policy", |row| row.policy = PolicyState::default()),
            ("policy", |row| row.policy.text = "{}".to_owned()),
            ("policy's time", |row| row.policy.update_time = Some(at(1))),
            ("policy without a time", |row| row.policy.update_time = None),
            ("no deadline", |row| row.policy.deadlines = Deadlines::default()),
            ("one deadline less", |row| {
                row.policy.deadlines = deadlines("1710000000000000:1715000000000000")
            }),
            ("later deadline", |row| {
                row.policy.deadlines = deadlines("1710000000000000:1715000000000001 1720000000000000:1720003600000000");
            }),
            ("deadline of fewer", |row| {
                row.policy.deadlines = deadlines("1709999999999999:1715000000000000 1720000000000000:1720003600000000");
            }),
        ],
    );
    assert_not_covered(&workspace(), |row| {
        row.display_name = DisplayName::new("other".to_owned()).expect("well-formed")
    });
}

#[test]
fn every_covered_field_of_an_organization() {
    let Organization {
        id: _,
        display_name: _,
        create_time: _,
        policy: _,
    } = organization();
    assert_covered::<Organization>(
        &organization(),
        &[
            ("id", |row| row.id = "initrode".parse().expect("well-formed")),
            ("create time", |row| row.create_time = at(0)),
            ("policy", |row| row.policy.text = "{}".to_owned()),
            ("policy's time", |row| row.policy.update_time = None),
            ("no deadline", |row| row.policy.deadlines = Deadlines::default()),
        ],
    );
    assert_not_covered(&organization(), |row| {
        row.display_name = DisplayName::new("other".to_owned()).expect("well-formed")
    });
}

#[test]
fn every_field_of_a_caller() {
    let Caller {
        id: _,
        role: _,
        workspaces: _,
        certificate_sans: _,
        create_time: _,
    } = caller();
    assert_covered::<Caller>(
        &caller(),
        &[
            ("id", |row| row.id = "ops".parse().expect("well-formed")),
            ("admin", |row| row.role = Role::Admin),
            ("workspace admin", |row| row.role = Role::WorkspaceAdmin),
            ("revoker", |row| row.role = Role::Revoker),
            ("auditor", |row| row.role = Role::Auditor),
            ("every workspace", |row| row.workspaces = WorkspaceAccess::All),
            ("one workspace more", |row| {
                row.workspaces = workspace_ids(&["acme", "beta", "gamma"])
            }),
            ("one workspace less", |row| row.workspaces = workspace_ids(&["acme"])),
            ("another workspace", |row| {
                row.workspaces = workspace_ids(&["acme", "gamma"])
            }),
            ("another SAN", |row| {
                row.certificate_sans = vec![san("spiffe://initech.example/cj")]
            }),
            ("a second SAN", |row| {
                row.certificate_sans.push(san("ci.initech.example"))
            }),
            ("no SAN", |row| row.certificate_sans.clear()),
            ("create time", |row| row.create_time = at(0)),
        ],
    );
}

#[test]
fn every_field_of_a_caller_key() {
    let CallerKey {
        name: _,
        digest: _,
        create_time: _,
        expire_time: _,
        revoke_time: _,
    } = caller_key();
    assert_covered::<CallerKey>(
        &caller_key(),
        &[
            ("caller", |row| row.name.caller = "root".parse().expect("well-formed")),
            ("id", |row| row.name.id = other_id()),
            ("digest", |row| {
                row.digest = SecretDigest::from_stored(kid(b'0'), [0; 32])
            }),
            ("digest's key", |row| {
                row.digest = SecretDigest::from_stored(kid(b'1'), [0x11; 32])
            }),
            ("create time", |row| row.create_time = at(0)),
            ("later expiry", |row| row.expire_time = Timestamp::MAX),
            ("revived", |row| row.revoke_time = None),
            ("revoked at another time", |row| row.revoke_time = Some(at(0))),
        ],
    );
}

#[test]
fn every_field_of_the_feeds_head() {
    let head = FeedHead {
        revision: Revision { epoch: 7, number: 8 },
        last_revocation: 9,
        is_restoring: false,
        terms: Terms {
            grant: Duration::from_secs(1),
            wait: Duration::from_secs(2),
            number: 3,
        },
    };
    let FeedHead {
        revision: Revision { epoch: _, number: _ },
        last_revocation: _,
        is_restoring: _,
        terms: Terms {
            grant: _,
            wait: _,
            number: _,
        },
    } = head;
    assert_covered::<FeedHead>(
        &head,
        &[
            ("epoch", |head| head.revision.epoch += 1),
            ("revision", |head| head.revision.number += 1),
            ("epoch and revision crossed", |head| {
                head.revision = Revision { epoch: 8, number: 7 }
            }),
            ("last ending", |head| head.last_revocation -= 1),
            ("a restore", |head| head.is_restoring = true),
            ("grant", |head| head.terms.grant -= Duration::from_micros(1)),
            ("wait", |head| head.terms.wait += Duration::from_micros(1)),
            ("terms", |head| head.terms.number += 1),
            ("advanced", |head| *head = head.clone().advanced(2)),
        ],
    );
}

#[test]
fn every_field_of_a_feeds_entry() {
    let subject = |id: &str| Subject::Workspace(workspace_id(id));
    let entry = FeedEntry {
        revision: Revision { epoch: 7, number: 8 },
        subjects: vec![subject("acme")],
    };
    let FeedEntry {
        revision: Revision { epoch: _, number: _ },
        subjects: _,
    } = &entry;
    assert_covered::<FeedEntry>(
        &entry,
        &[
            ("epoch", |entry| entry.revision.epoch += 1),
            ("revision", |entry| entry.revision.number += 1),
            ("no subject", |entry| entry.subjects.clear()),
            ("another subject", |entry| {
                entry.subjects = vec![Subject::Workspace(workspace_id("globex"))];
            }),
            ("one more subject", |entry| entry.subjects.push(Subject::Certificates)),
        ],
    );
}

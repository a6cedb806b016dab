//! Watch keeps the cache of a client up to date: pongs give leases, invalidations come before them, and changes wait
//! for the leases.

use std::time::{Duration, Instant};

use tokend_client::v1::{
    CreateCallerRequest, CreateWorkspaceRequest, ErrorReason, Revision, RevokeCallerKeyRequest, Role, Selection,
    TokenUse, WatchRequest, invalidation::Subject, token_policy::ExistingTokens,
};
use tokend_tests::{Installation, Server, eventually, max_lifetime, on_both_databases, on_sqlite, refusal, token_in};
use tonic::Code;

use crate::watcher::{Watch, lease, revoke, subjects};

on_both_databases!(
    a_pong_gives_a_lease,
    a_watcher_hears_what_changed_before_the_pong,
    a_watcher_hears_of_its_own_workspaces_only,
    an_organization_is_sent_as_its_workspaces,
    the_stream_of_a_revoked_caller_ends,
    a_stream_is_resumed,
    another_epoch_requires_a_new_beginning,
    reported_uses_are_recorded,
    invalid_messages_are_refused,
);
on_sqlite!(alone: a_revocation_waits_for_a_watchers_lease);

async fn a_pong_gives_a_lease(installation: Installation) {
    let key = installation.init_with(["--lease", "1s"]).await;
    let server = installation.serve(&key).await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    let heard = watch.leased().await;
    assert!(lease(&heard.pong) <= Duration::from_secs(1), "{heard:?}");
    assert!(heard.invalidations.is_empty() && !heard.resync_required, "{heard:?}");
    let again = watch.leased().await.pong.revision.expect("a revision");
    assert_eq!(again.epoch, heard.pong.revision.expect("a revision").epoch);
}

async fn a_watcher_hears_what_changed_before_the_pong(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    watch.leased().await;
    let token = server.token(token_in(&acme)).await.public.name;
    let revision = revoke(&server, &token).await;
    let heard = watch.up_to(revision).await;
    assert_eq!(subjects(&heard), [Subject::Token(token)]);
    assert_eq!(heard[0].revision, Some(revision));
    let suspended = server.suspend(&acme).await.revision.expect("a revision");
    assert_eq!(subjects(&watch.up_to(suspended).await), [Subject::Workspace(acme)]);
    // A repetition makes nothing outdated.
    let repeated = revoke(
        &server,
        heard[0].subject.as_ref().and_then(token_name).expect("a token"),
    )
    .await;
    assert_eq!(watch.up_to(repeated).await, []);
}

fn token_name(subject: &Subject) -> Option<&str> {
    match subject {
        Subject::Token(name) => Some(name),
        _ => None,
    }
}

async fn a_watcher_hears_of_its_own_workspaces_only(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let verifier = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme.clone()],
        }),
        ..Default::default()
    };
    let verifier = server.caller_as(verifier).await;
    let other = server.caller("other", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    watch.leased().await;
    let (own, foreign) = (
        server.token(token_in(&acme)).await,
        server.token(token_in(&globex)).await,
    );
    revoke(&server, &foreign.public.name).await;
    server.suspend(&globex).await;
    revoke_key(&server, &other.public).await;
    let last = revoke(&server, &own.public.name).await;
    assert_eq!(subjects(&watch.up_to(last).await), [Subject::Token(own.public.name)]);
}

async fn an_organization_is_sent_as_its_workspaces(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (one, two) = (
        server.workspace_in("acme", &initech).await,
        server.workspace_in("globex", &initech).await,
    );
    server.workspace("hooli").await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    watch.leased().await;
    let policy = max_lifetime(&initech, Duration::from_secs(3_600), ExistingTokens::Apply);
    let changed = server.set_policy(policy).await.revision.expect("a revision");
    let mut heard = subjects(&watch.up_to(changed).await);
    heard.sort_by_key(|subject| format!("{subject:?}"));
    assert_eq!(heard, [Subject::Workspace(one), Subject::Workspace(two)]);
}

async fn revoke_key(server: &Server, name: &str) {
    let request = RevokeCallerKeyRequest {
        name: name.to_owned(),
        no_wait: false,
    };
    let revoked = server.admin().caller_admin().revoke_caller_key(request).await;
    revoked.expect("RevokeCallerKey succeeds");
}

async fn the_stream_of_a_revoked_caller_ends(installation: Installation) {
    let server = installation.start().await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    watch.leased().await;
    revoke_key(&server, &verifier.public).await;
    // The revocation has returned: no pong gives a lease any more.
    let ended = watch.ping().await.expect_err("the stream ends");
    refusal(&ended, Code::Unauthenticated, ErrorReason::InvalidCredential);
}

async fn a_stream_is_resumed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    let applied = watch.leased().await.pong.revision;
    drop(watch);
    let mut missed = Vec::new();
    for _ in 0..3 {
        let token = server.token(token_in(&acme)).await.public.name;
        missed.push((Subject::Token(token.clone()), revoke(&server, &token).await));
    }
    let mut watch = Watch::begin(&server, &verifier.secret, applied).await;
    let heard = watch.up_to(missed[2].1).await;
    let heard: Vec<_> = heard
        .into_iter()
        .map(|each| (each.subject.expect("a subject"), each.revision.expect("a revision")))
        .collect();
    // What the stream itself has missed it may hear twice.
    assert!(missed.iter().all(|each| heard.contains(each)), "{heard:?}");

    // A stream whose own caller has lost a key begins anew.
    let applied = watch.leased().await.pong.revision;
    let lost = server.admin().caller_admin();
    let second = lost
        .clone()
        .create_caller_key(tokend_client::v1::CreateCallerKeyRequest {
            parent: "callers/gateway".to_owned(),
            ttl: None,
        })
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    drop(watch);
    revoke_key(&server, &verifier.public).await;
    let mut watch = Watch::begin(&server, &second.secret, applied).await;
    assert!(watch.ping().await.expect("the stream goes on").resync_required);
}

async fn another_epoch_requires_a_new_beginning(installation: Installation) {
    let server = installation.start().await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    let revision = watch.leased().await.pong.revision.expect("a revision");
    let other = Revision {
        epoch: revision.epoch ^ 1,
        ..revision
    };
    let mut watch = Watch::begin(&server, &verifier.secret, Some(other)).await;
    let heard = watch.ping().await.expect("the stream goes on");
    assert!(heard.resync_required && heard.invalidations.is_empty(), "{heard:?}");
    // The same stream goes on as one that resumes none.
    assert!(!watch.leased().await.resync_required);
}

async fn reported_uses_are_recorded(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let token = server.token(token_in(&acme)).await.public;
    let foreign = server.token(token_in(&globex)).await.public;
    let verifier = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme.clone()],
        }),
        ..Default::default()
    };
    let verifier = server.caller_as(verifier).await;
    let watch = Watch::begin(&server, &verifier.secret, None).await;
    let used = TokenUse {
        token: token.name.clone(),
        time: token.create_time,
        address: "192.0.2.7".to_owned(),
        scopes: vec!["repository:write".to_owned(), "of:another:catalogue".to_owned()],
    };
    let in_the_future = TokenUse {
        time: token.create_time.map(|time| prost_types::Timestamp {
            seconds: time.seconds + 3_600 * 24 * 365,
            ..time
        }),
        address: String::new(),
        ..used.clone()
    };
    // A token of another workspace, under a name in the caller's own.
    let in_disguise = TokenUse {
        token: foreign.name.replace(&globex, &acme),
        ..used.clone()
    };
    watch
        .send(WatchRequest {
            uses: vec![in_disguise, used, in_the_future],
            ..Default::default()
        })
        .await;
    let found = eventually("the uses are written", async || {
        installation.clock().set_ahead(Duration::from_secs(60));
        let found = server.get_token(&token.name).await;
        found.last_used_time.is_some().then_some(found)
    })
    .await;
    assert_eq!(found.last_used_addresses, ["192.0.2.7"]);
    assert_eq!(server.get_token(&foreign.name).await.last_used_time, None);
    let last = found.last_used_time.expect("a time").seconds;
    assert!(
        last - token.create_time.expect("a time").seconds < 3_600 * 24,
        "not in the future: {found:?}"
    );
}

async fn invalid_messages_are_refused(installation: Installation) {
    let server = installation.start().await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let malformed = TokenUse {
        token: "workspaces/acme".to_owned(),
        time: None,
        address: "nowhere".to_owned(),
        scopes: Vec::new(),
    };
    for uses in [vec![malformed.clone()], vec![malformed; 1_001]] {
        let mut watch = Watch::begin(&server, &verifier.secret, None).await;
        let fields = if uses.len() == 1 {
            vec!["uses[0].token", "uses[0].time", "uses[0].address"]
        } else {
            vec!["uses"]
        };
        watch
            .send(WatchRequest {
                uses,
                ..Default::default()
            })
            .await;
        let refused = watch.ping().await.expect_err("the stream ends");
        let failure = refusal(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        let named: Vec<_> = failure
            .fields
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(named, fields);
    }
    let auditor = server.caller("auditor", Role::Auditor).await;
    let refused = server
        .client(&auditor.secret)
        .await
        .token_verify()
        .watch(tokio_stream::empty())
        .await
        .expect_err("an AUDITOR may not watch");
    refusal(&refused, Code::PermissionDenied, ErrorReason::RoleNotAllowed);
}

/// A server with a database of its own waits for the leases that it has given, and for nothing else.
#[expect(clippy::disallowed_methods, reason = "this is about how long it takes")]
async fn a_revocation_waits_for_a_watchers_lease(installation: Installation) {
    const LEASE: Duration = Duration::from_secs(2);
    let key = installation.init_with(["--lease", "2s"]).await;
    let server = installation.serve(&key).await;
    let acme = server.workspace("acme").await;
    // Leases of a process before this one may still run.
    let began = Instant::now();
    server.revoke(&server.token(token_in(&acme)).await.public.name).await;
    assert!(began.elapsed() > LEASE / 2, "{:?}", began.elapsed());

    let mut watch = Watch::begin(&server, &key, None).await;
    let token = server.token(token_in(&acme)).await.public.name;
    let sent = Instant::now();
    let heard = watch.leased().await;
    let end = sent + lease(&heard.pong);
    server.revoke(&token).await;
    assert!(
        Instant::now() >= end,
        "the lease that the client may count on has ended"
    );
    drop(watch);

    let token = server.token(token_in(&acme)).await.public.name;
    let began = Instant::now();
    server.revoke(&token).await;
    assert!(began.elapsed() < LEASE, "no lease runs: {:?}", began.elapsed());
    server
        .admin()
        .workspace_admin()
        .create_workspace(CreateWorkspaceRequest {
            workspace_id: "later".to_owned(),
            display_name: "Later".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the server goes on");
}

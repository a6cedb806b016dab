//! Watch keeps the cache of a client up to date: pongs give leases, invalidations come before them, and changes wait
//! for the leases.

use std::time::{Duration, Instant};

use tokend_client::v1::{
    CreateCallerRequest, CreateWorkspaceRequest, ErrorReason, Invalidation, Ping, Pong, Revision,
    RevokeCallerKeyRequest, RevokeTokenRequest, Role, Selection, TokenUse, WatchRequest, WatchResponse,
    invalidation::Subject, token_policy::ExistingTokens,
};
use tokend_tests::{Installation, Server, eventually, max_lifetime, on_both_databases, on_sqlite, refusal, token_in};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

on_both_databases!(
    a_pong_gives_a_lease,
    a_watcher_hears_what_changed_before_the_pong,
    a_watcher_hears_of_its_own_workspaces_only,
    an_organization_is_told_as_its_workspaces,
    the_stream_of_a_revoked_caller_ends,
    a_stream_is_resumed,
    another_epoch_requires_a_new_beginning,
    reported_uses_are_recorded,
    invalid_messages_are_refused,
);
on_sqlite!(alone: a_revocation_waits_for_a_watchers_lease);

/// A Watch stream of one caller.
struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    pings: u64,
}

/// What came before a pong.
#[derive(Debug)]
struct Told {
    invalidations: Vec<Invalidation>,
    resync_required: bool,
    pong: Pong,
}

impl Watch {
    async fn begin(server: &Server, key: &str, resume_revision: Option<Revision>) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let first = WatchRequest {
            resume_revision,
            ..Default::default()
        };
        requests.send(first).await.expect("the stream is open");
        let client = server.client(key).await;
        let responses = client.token_verify().watch(ReceiverStream::new(receiver)).await;
        Self {
            requests,
            responses: responses.expect("Watch begins").into_inner(),
            pings: 0,
        }
    }

    async fn send(&self, request: WatchRequest) {
        self.requests.send(request).await.expect("the stream is open");
    }

    /// Sends a ping, and returns everything up to its pong.
    async fn ping(&mut self) -> Result<Told, Status> {
        self.pings += 1;
        let ping = Ping {
            number: self.pings,
            applied_revision: None,
        };
        let request = WatchRequest {
            ping: Some(ping),
            ..Default::default()
        };
        // A stream that has ended takes no message.
        let _ = self.requests.send(request).await;
        let (mut invalidations, mut resync_required) = (Vec::new(), false);
        loop {
            let Some(response) = self.responses.message().await? else {
                return Err(Status::ok("the stream has ended"));
            };
            invalidations.extend(response.invalidations);
            resync_required |= response.resync_required;
            if let Some(pong) = response.pong {
                assert_eq!(pong.number, self.pings);
                return Ok(Told {
                    invalidations,
                    resync_required,
                    pong,
                });
            }
        }
    }

    /// Pings until a pong gives a lease.
    async fn leased(&mut self) -> Told {
        let mut all = Vec::new();
        loop {
            let mut told = self.ping().await.expect("the stream goes on");
            all.append(&mut told.invalidations);
            if !lease(&told.pong).is_zero() {
                return Told {
                    invalidations: all,
                    ..told
                };
            }
        }
    }

    /// Pings until the revision is told.
    async fn up_to(&mut self, revision: Revision) -> Vec<Invalidation> {
        let mut all = Vec::new();
        loop {
            let mut told = self.ping().await.expect("the stream goes on");
            all.append(&mut told.invalidations);
            if told.pong.revision.expect("a revision").number >= revision.number {
                return all;
            }
        }
    }
}

fn lease(pong: &Pong) -> Duration {
    let lease = pong.lease_remaining.expect("a pong has a lease");
    lease.try_into().expect("a lease is not negative")
}

fn subjects(invalidations: &[Invalidation]) -> Vec<Subject> {
    let each = invalidations.iter();
    each.map(|each| each.subject.clone().expect("a subject")).collect()
}

async fn revoke(server: &Server, name: &str) -> Revision {
    let request = RevokeTokenRequest {
        name: name.to_owned(),
        no_wait: true,
        ..Default::default()
    };
    let revoked = server.admin().token_admin().revoke_token(request).await;
    revoked
        .expect("RevokeToken succeeds")
        .into_inner()
        .revision
        .expect("a revision")
}

async fn a_pong_gives_a_lease(installation: Installation) {
    let key = installation.init_with(["--lease", "1s"]).await;
    let server = installation.serve(&key).await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    let told = watch.leased().await;
    assert!(lease(&told.pong) <= Duration::from_secs(1), "{told:?}");
    assert!(told.invalidations.is_empty() && !told.resync_required, "{told:?}");
    let again = watch.leased().await.pong.revision.expect("a revision");
    assert_eq!(again.epoch, told.pong.revision.expect("a revision").epoch);
}

async fn a_watcher_hears_what_changed_before_the_pong(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let mut watch = Watch::begin(&server, &verifier.secret, None).await;
    watch.leased().await;
    let token = server.token(token_in(&acme)).await.public.name;
    let revision = revoke(&server, &token).await;
    let told = watch.up_to(revision).await;
    assert_eq!(subjects(&told), [Subject::Token(token)]);
    assert_eq!(told[0].revision, Some(revision));
    let suspended = server.suspend(&acme).await.revision.expect("a revision");
    assert_eq!(subjects(&watch.up_to(suspended).await), [Subject::Workspace(acme)]);
    // A repetition makes nothing outdated.
    let repeated = revoke(&server, told[0].subject.as_ref().and_then(token_name).expect("a token")).await;
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

async fn an_organization_is_told_as_its_workspaces(installation: Installation) {
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
    let mut told = subjects(&watch.up_to(changed).await);
    told.sort_by_key(|subject| format!("{subject:?}"));
    assert_eq!(told, [Subject::Workspace(one), Subject::Workspace(two)]);
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
    let told = watch.up_to(missed[2].1).await;
    let told: Vec<_> = told
        .into_iter()
        .map(|each| (each.subject.expect("a subject"), each.revision.expect("a revision")))
        .collect();
    // What the stream itself has missed it may hear twice.
    assert!(missed.iter().all(|each| told.contains(each)), "{told:?}");

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
    let told = watch.ping().await.expect("the stream goes on");
    assert!(told.resync_required && told.invalidations.is_empty(), "{told:?}");
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
    let told = watch.leased().await;
    let end = sent + lease(&told.pong);
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

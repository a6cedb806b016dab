//! Clients that create, verify and revoke tokens while the database fails over, and what they know about each token.
//!
//! They check every answer: an acknowledged revocation is never followed by ALLOW, a token whose creation was
//! acknowledged is never denied unless somebody asked to revoke it, and an outage is `UNAVAILABLE`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokend_client::{
    Client,
    v1::{Decision, DenyReason, GetTokenRequest, RevokeTokenRequest, VerifyRequest},
};
use tokend_tests::{Installation, Server, eventually, question, token_in};
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status};

/// The clients on each server.
const WRITERS: usize = 4;
const VERIFIERS: usize = 4;
/// The pause after each round of a writer, so that the database has no more tokens at the end than can be checked.
const PAUSE: Duration = Duration::from_millis(10);

/// What a client knows about the revocation of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revocation {
    /// Nobody has asked for it.
    NotSent,
    /// It was sent, and not acknowledged: the token may be revoked or not.
    Unknown,
    Acknowledged,
}

/// A token whose creation was acknowledged.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    question: VerifyRequest,
    revocation: Revocation,
}

/// The number of answers of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) created: usize,
    pub(crate) revoked: usize,
    pub(crate) allowed: usize,
    pub(crate) denied: usize,
    /// `UNAVAILABLE` from Verify.
    pub(crate) no_verdict: usize,
    /// `UNAVAILABLE` from CreateToken and RevokeToken.
    pub(crate) not_acknowledged: usize,
}

#[derive(Debug, Default)]
struct Ledger {
    tokens: Vec<Known>,
    answers: Answers,
    wrong: Vec<String>,
    stopped: bool,
}

type Shared = Arc<Mutex<Ledger>>;

/// Clients at work. Dropping this value stops them.
pub(crate) struct Load {
    ledger: Shared,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts clients of each server.
    pub(crate) async fn start(servers: &[&Server]) -> Self {
        let (ledger, mut clients) = (Shared::default(), JoinSet::new());
        for server in servers {
            for number in 0..WRITERS {
                let client = server.client(server.admin_key()).await;
                // Changes in one workspace wait for each other.
                let workspace = servers[0].workspace(&format!("acme-{}", clients.len())).await;
                clients.spawn(write(client, Arc::clone(&ledger), workspace, number));
            }
            for number in 0..VERIFIERS {
                let client = server.client(server.admin_key()).await;
                clients.spawn(verify(client, Arc::clone(&ledger), number));
            }
        }
        Self { ledger, clients }
    }

    /// Waits until the clients got enough answers of each kind that a working database gives.
    pub(crate) async fn makes_progress(&self) {
        let before = self.answers();
        self.waits_until("the clients make progress", |now| {
            now.created >= before.created + 40
                && now.revoked >= before.revoked + 20
                && now.allowed >= before.allowed + 100
                && now.denied >= before.denied + 100
        })
        .await;
    }

    /// Waits until the clients got no verdict for a while.
    pub(crate) async fn sees_an_outage(&self) {
        let before = self.answers();
        self.waits_until("the clients see an outage", |now| {
            now.no_verdict >= before.no_verdict + 40
        })
        .await;
    }

    async fn waits_until(&self, what: &str, condition: impl Fn(Answers) -> bool) {
        eventually(what, async || {
            self.has_no_wrong_answer();
            condition(self.answers()).then_some(())
        })
        .await;
    }

    fn answers(&self) -> Answers {
        lock(&self.ledger).answers
    }

    #[track_caller]
    fn has_no_wrong_answer(&self) {
        let ledger = lock(&self.ledger);
        assert!(ledger.wrong.is_empty(), "{:?}\n{:#?}", ledger.answers, ledger.wrong);
    }

    /// Stops the clients. Asserts on each server that nothing is lost: every created token exists, and every revoked
    /// one is denied. Then revokes the tokens whose revocation is unknown, and asserts that each revocation was recorded
    /// once.
    pub(crate) async fn has_lost_nothing(mut self, installation: &Installation, servers: &[&Server]) -> Answers {
        lock(&self.ledger).stopped = true;
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no client panics");
        }
        self.has_no_wrong_answer();
        let Ledger { tokens, answers, .. } = std::mem::take(&mut *lock(&self.ledger));

        let mut revoked = 0;
        for token in &tokens {
            let got = servers[0]
                .admin()
                .token_admin()
                .get_token(GetTokenRequest {
                    name: token.name.clone(),
                })
                .await;
            got.unwrap_or_else(|status| panic!("{token:?} is lost: {status}"));
            for server in servers {
                let verdict = server.verdict(token.question.clone()).await;
                let is_denied = verdict.decision() == Decision::Deny && verdict.deny_reason() == DenyReason::Revoked;
                let is_right = match token.revocation {
                    Revocation::NotSent => verdict.decision() == Decision::Allow,
                    Revocation::Unknown => is_denied || verdict.decision() == Decision::Allow,
                    Revocation::Acknowledged => is_denied,
                };
                assert!(is_right, "{token:?}: {verdict:?}");
            }
            revoked += usize::from(token.revocation != Revocation::NotSent);
        }

        // At once, because each may wait until it holds on all servers.
        let mut repeats = JoinSet::new();
        for token in tokens
            .into_iter()
            .filter(|token| token.revocation == Revocation::Unknown)
        {
            let client = servers[0].admin().clone();
            repeats.spawn(async move {
                let request = RevokeTokenRequest {
                    name: token.name.clone(),
                    ..RevokeTokenRequest::default()
                };
                (client.token_admin().revoke_token(request).await, token)
            });
        }
        while let Some(repeat) = repeats.join_next().await {
            let (answer, token) = repeat.expect("no call panics");
            answer.unwrap_or_else(|status| panic!("{token:?} is not revoked: {status}"));
            for server in servers {
                let verdict = server.verdict(token.question.clone()).await;
                assert_eq!(verdict.deny_reason(), DenyReason::Revoked, "{token:?}");
            }
        }

        let exported = installation.run_on_data(["export-revocations"]).await.succeeded();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for line in exported.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
            let name = line["ending"]["name"].as_str().expect("the line has a name");
            *lines.entry(name.to_owned()).or_default() += 1;
        }
        assert!(lines.values().all(|count| *count == 1), "{lines:#?}");
        assert_eq!(lines.len(), revoked);
        // Each row is as its last audit record says.
        installation.run_on_data(["audit", "verify"]).await.succeeded();
        answers
    }
}

/// Creates tokens, and revokes every other one. An outcome that is unknown is sometimes made known by a repetition.
async fn write(client: Client, ledger: Shared, workspace: String, number: usize) {
    for round in number.. {
        if lock(&ledger).stopped {
            return;
        }
        sleep(PAUSE).await;
        let created = match client.token_admin().create_token(token_in(&workspace)).await {
            Ok(created) => created.into_inner(),
            Err(status) => {
                lock(&ledger).failed("CreateToken", &status, |answers| &mut answers.not_acknowledged);
                continue;
            }
        };
        let name = created.token.expect("the response has the token").name;
        let position = {
            let mut ledger = lock(&ledger);
            ledger.answers.created += 1;
            ledger.tokens.push(Known {
                name: name.clone(),
                question: question(&created.secret, &workspace, &["repository"]),
                revocation: Revocation::NotSent,
            });
            ledger.tokens.len() - 1
        };
        if round % 2 == 0 {
            revoke(&client, &ledger, position, &name, round % 4 == 0).await;
        }
    }
}

async fn revoke(client: &Client, ledger: &Shared, position: usize, name: &str, until_acknowledged: bool) {
    loop {
        lock(ledger).tokens[position].revocation = Revocation::Unknown;
        let request = RevokeTokenRequest {
            name: name.to_owned(),
            ..RevokeTokenRequest::default()
        };
        let answer = client.token_admin().revoke_token(request).await;
        let mut ledger = lock(ledger);
        match answer {
            Ok(_) => {
                ledger.tokens[position].revocation = Revocation::Acknowledged;
                ledger.answers.revoked += 1;
                return;
            }
            Err(status) => ledger.failed("RevokeToken", &status, |answers| &mut answers.not_acknowledged),
        }
        if !until_acknowledged || ledger.stopped {
            return;
        }
    }
}

/// Verifies the newest tokens and older ones, in turn.
async fn verify(client: Client, ledger: Shared, number: usize) {
    for round in number.. {
        let (position, before) = {
            let ledger = lock(&ledger);
            if ledger.stopped {
                return;
            }
            let len = ledger.tokens.len();
            let newest = len.saturating_sub(1 + round % 8);
            let position = if round % 2 == 0 {
                newest
            } else {
                round * 31 % len.max(1)
            };
            (position, ledger.tokens.get(position).cloned())
        };
        let Some(before) = before else {
            sleep(PAUSE).await;
            continue;
        };
        let answer = client.token_verify().verify(before.question.clone()).await;
        let mut ledger = lock(&ledger);
        let after = ledger.tokens[position].revocation;
        let verdict = match answer {
            Ok(verdict) => verdict.into_inner(),
            Err(status) => {
                ledger.failed("Verify", &status, |answers| &mut answers.no_verdict);
                continue;
            }
        };
        let is_right = match verdict.decision() {
            Decision::Allow => {
                ledger.answers.allowed += 1;
                before.revocation != Revocation::Acknowledged
            }
            Decision::Deny => {
                ledger.answers.denied += 1;
                after != Revocation::NotSent && verdict.deny_reason() == DenyReason::Revoked
            }
            Decision::Unspecified => false,
        };
        if !is_right {
            ledger.wrong.push(format!("{before:?}, {after:?} now: {verdict:?}"));
        }
    }
}

impl Ledger {
    /// Counts a failure. Only an outage is right.
    fn failed(&mut self, call: &str, status: &Status, counter: impl FnOnce(&mut Answers) -> &mut usize) {
        *counter(&mut self.answers) += 1;
        if status.code() != Code::Unavailable {
            self.wrong.push(format!("{call}: {status:?}"));
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

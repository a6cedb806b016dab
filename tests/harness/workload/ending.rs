//! An end: something is changed so that it does not work any more, in one of several ways, and every endpoint is asked
//! about it as soon as an answer promises that it is dead.

use std::{sync::Arc, time::Duration};

use tokend_client::v1::Revision;
use tokio::time::{sleep, timeout};

use crate::{
    call::{Call, Done},
    history::{Asks, Consistency, Effect, KeyId, TokenId},
    lab::Lab,
    random::Random,
};

/// The most tokens of one end that are asked about.
const PROBED: usize = 2;
/// When every endpoint is asked, in milliseconds after the answer, each counted from the one before.
const PROBES: [u64; 4] = [0, 15, 100, 600];
/// How long to wait for the answers that fill the memories before an end.
const WARM_LIMIT: Duration = Duration::from_millis(300);
/// How often an end is attempted.
const ATTEMPTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// Something to end.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) effect: Effect,
    pub(crate) call: Call,
    /// The tokens that end, or those to ask about with the key that ends.
    pub(crate) tokens: Vec<TokenId>,
    /// The key that ends.
    pub(crate) key: Option<KeyId>,
    /// How long after the answer it ends.
    pub(crate) after: Duration,
}

/// In which way something is ended.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// One call.
    Once,
    /// Two calls at the same time, mostly at two servers: one finds what the other did.
    TwiceAtOnce,
    /// A call that waits for nobody, then a repeat that waits.
    WithoutWaitFirst,
    /// A repeat after the answer.
    Again,
}

impl Ending {
    /// Ends it, repeats failed calls, and returns whether an answer promised the end.
    pub(crate) async fn carry_out(self, lab: &Arc<Lab>, random: &mut Random) -> bool {
        self.warm(lab, random).await;
        let way = random.weighted(&[
            (50, Way::Once),
            (20, Way::TwiceAtOnce),
            (15, Way::WithoutWaitFirst),
            (15, Way::Again),
        ]);
        let mut is_done = match way {
            Way::Once | Way::Again => false,
            Way::TwiceAtOnce => {
                let (mut one, mut other) = (random.fork(), random.fork());
                let (first, second) = tokio::join!(self.attempt(lab, &mut one), self.attempt(lab, &mut other));
                first || second
            }
            Way::WithoutWaitFirst => {
                if let Some(Done {
                    revision: Some(revision),
                    ..
                }) = self.send(lab, random, true).await
                {
                    self.probe_revision(lab, random, revision);
                }
                false
            }
        };
        for _ in 0..ATTEMPTS {
            if is_done || lab.is_ending() {
                break;
            }
            is_done = self.attempt(lab, random).await;
            if !is_done {
                sleep(PAUSE).await;
            }
        }
        if matches!(way, Way::Again) {
            self.attempt(lab, random).await;
        }
        is_done
    }

    /// Sends the call once. If its answer promises the end, asks all endpoints.
    async fn attempt(&self, lab: &Arc<Lab>, random: &mut Random) -> bool {
        let mut other = random.fork();
        let is_done = tokio::select! {
            done = self.send(lab, random, false) => done.is_some(),
            () = self.keep_asking(lab, &mut other) => false,
        };
        if is_done {
            self.probe(lab, random);
        }
        is_done
    }

    async fn send(&self, lab: &Lab, random: &mut Random, no_wait: bool) -> Option<Done> {
        let server = lab.any_server(random);
        // Some clients give up early. Others wait until a stopped server continues.
        let patience = Duration::from_millis(random.weighted(&[(20, 1_000), (65, 5_000), (15, 40_000)]));
        lab.change(server, &self.effect, &self.call, no_wait, patience).await
    }

    /// Asks every endpoint about what is going to end, so that those with a memory remember it.
    async fn warm(&self, lab: &Arc<Lab>, random: &mut Random) {
        let asking = self.ask_all(lab, random, Consistency::Ordinary);
        let (asked, mut all_asked) = tokio::sync::mpsc::channel::<()>(1);
        for ask in asking {
            let asked = asked.clone();
            lab.spawn(async move {
                ask.await;
                drop(asked);
            });
        }
        drop(asked);
        // The channel closes when the last one has its answer. A stopped server's is not waited for.
        let _ = timeout(WARM_LIMIT, all_asked.recv()).await;
    }

    /// Asks every endpoint again and again. While a change waits, servers that have not heard of it may allow what it
    /// ends, and nobody may remember that beyond the answer.
    async fn keep_asking(&self, lab: &Arc<Lab>, random: &mut Random) {
        loop {
            sleep(random.millis(50, 800)).await;
            for ask in self.ask_all(lab, random, Consistency::Ordinary) {
                lab.spawn(ask);
            }
        }
    }

    /// Asks every endpoint now and a few times later.
    fn probe(&self, lab: &Arc<Lab>, random: &mut Random) {
        let (lab, mut random, ending) = (Arc::clone(lab), random.fork(), self.clone());
        Arc::clone(&lab).spawn(async move {
            if !ending.after.is_zero() {
                sleep(ending.after + Duration::from_millis(25)).await;
            }
            for millis in PROBES {
                sleep(Duration::from_millis(millis)).await;
                for ask in ending.ask_all(&lab, &mut random, Consistency::Ordinary) {
                    lab.spawn(ask);
                }
            }
        });
    }

    /// Asks every endpoint for a verdict that knows of a change that nobody waited for.
    fn probe_revision(&self, lab: &Arc<Lab>, random: &mut Random, revision: Revision) {
        for consistency in [Consistency::AtLeast(revision), Consistency::Newest] {
            for ask in self.ask_all(lab, random, consistency) {
                lab.spawn(ask);
            }
        }
    }

    fn ask_all(
        &self,
        lab: &Arc<Lab>,
        random: &mut Random,
        consistency: Consistency,
    ) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let mut asking = Vec::new();
        for token in self.tokens.iter().take(PROBED).copied() {
            for endpoint in 0..lab.endpoints.len() {
                let Some(key) = self.key.or_else(|| lab.world().key_for(token, random)) else {
                    continue;
                };
                let (lab, server) = (Arc::clone(lab), lab.any_server(random).index);
                asking.push(async move {
                    lab.verify(endpoint, server, token, key, Asks::Granted, consistency)
                        .await;
                });
            }
        }
        asking
    }
}

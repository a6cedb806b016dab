//! A client that watches.

use std::time::Duration;

use tokend_client::v1::{
    Invalidation, Ping, Pong, Revision, RevokeTokenRequest, WatchRequest, WatchResponse, invalidation::Subject,
};
use tokend_tests::Server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// A Watch stream of one caller.
pub(crate) struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    pings: u64,
}

/// What came before a pong.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) invalidations: Vec<Invalidation>,
    pub(crate) resync_required: bool,
    pub(crate) pong: Pong,
}

impl Watch {
    pub(crate) async fn begin(server: &Server, key: &str, resume_revision: Option<Revision>) -> Self {
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

    pub(crate) async fn send(&self, request: WatchRequest) {
        self.requests.send(request).await.expect("the stream is open");
    }

    /// Sends a ping, and returns everything up to its pong.
    pub(crate) async fn ping(&mut self) -> Result<Heard, Status> {
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
                return Ok(Heard {
                    invalidations,
                    resync_required,
                    pong,
                });
            }
        }
    }

    /// Pings until a pong gives a lease.
    pub(crate) async fn leased(&mut self) -> Heard {
        let mut all = Vec::new();
        loop {
            let mut heard = self.ping().await.expect("the stream goes on");
            all.append(&mut heard.invalidations);
            if !lease(&heard.pong).is_zero() {
                return Heard {
                    invalidations: all,
                    ..heard
                };
            }
        }
    }

    /// Pings until a pong has the revision.
    pub(crate) async fn up_to(&mut self, revision: Revision) -> Vec<Invalidation> {
        let mut all = Vec::new();
        loop {
            let mut heard = self.ping().await.expect("the stream goes on");
            all.append(&mut heard.invalidations);
            if heard.pong.revision.expect("a revision").number >= revision.number {
                return all;
            }
        }
    }
}

pub(crate) fn lease(pong: &Pong) -> Duration {
    let lease = pong.lease_remaining.expect("a pong has a lease");
    lease.try_into().expect("a lease is not negative")
}

pub(crate) fn subjects(invalidations: &[Invalidation]) -> Vec<Subject> {
    let each = invalidations.iter();
    each.map(|each| each.subject.clone().expect("a subject")).collect()
}

pub(crate) async fn revoke(server: &Server, name: &str) -> Revision {
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

use std::time::Duration;

use tokend_core::{
    feed::Revision,
    name::{CallerId, TokenName, WorkspaceId},
};

use crate::{field::span_message, v1};

/// A message to a watching client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchUpdate {
    /// What is outdated.
    pub outdated: Vec<(Outdated, Revision)>,
    /// The answer to a ping, which comes after what is outdated.
    pub pong: Option<Pong>,
    /// Whether the client must begin anew.
    pub resync_required: bool,
}

/// What the cache of a client may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outdated {
    /// A token.
    Token(TokenName),
    /// Every token of a workspace.
    Workspace(WorkspaceId),
    /// Everything, because the client's own caller is about to be refused.
    Caller(CallerId),
}

/// Renews the lease of a watching client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The number of the ping.
    pub number: u64,
    /// How long the lease lasts, counted from when the ping was sent.
    pub lease: Duration,
    /// Everything that is outdated up to this revision was sent before.
    pub revision: Revision,
}

impl From<WatchUpdate> for v1::WatchResponse {
    fn from(update: WatchUpdate) -> Self {
        let WatchUpdate {
            outdated,
            pong,
            resync_required,
        } = update;
        Self {
            invalidations: outdated.into_iter().map(invalidation).collect(),
            pong: pong.map(
                |Pong {
                     number,
                     lease,
                     revision,
                 }| v1::Pong {
                    number,
                    lease_remaining: Some(span_message(lease)),
                    revision: Some(revision.into()),
                },
            ),
            resync_required,
        }
    }
}

fn invalidation((outdated, revision): (Outdated, Revision)) -> v1::Invalidation {
    use v1::invalidation::Subject;
    let subject = match outdated {
        Outdated::Token(name) => Subject::Token(name.to_string()),
        Outdated::Workspace(id) => Subject::Workspace(id.name()),
        Outdated::Caller(id) => Subject::Caller(id.name()),
    };
    v1::Invalidation {
        subject: Some(subject),
        revision: Some(revision.into()),
    }
}

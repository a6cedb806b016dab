//! What the service does, a module for each subject. A use case takes a [`CallContext`](crate::auth::CallContext) and a
//! validated request, reads, decides in the core, and writes. It knows no transport.

pub(crate) mod audit_log;
pub(crate) mod callers;
pub(crate) mod organizations;
pub(crate) mod policies;
pub(crate) mod tokens;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod workspaces;

use std::sync::Arc;

use rand::rngs::SysError;
use tokend_core::{
    credential::{Kind, Minted},
    scope::ScopeCatalog,
};
use tokend_store::Store;

use self::tokens::revocation_queue::RevocationQueue;
use crate::{
    observability::counters::{DeniedVerdicts, LeakedSecrets},
    usage::UsageRecorder,
    verifier::Verifier,
};

/// What every use case needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) verifier: Verifier,
    pub(crate) revocations: RevocationQueue,
    pub(crate) catalog: Arc<ScopeCatalog>,
    pub(crate) denied: DeniedVerdicts,
    pub(crate) leaked: LeakedSecrets,
    pub(crate) usage: Arc<UsageRecorder>,
}

impl Context {
    /// Makes a credential from the system's random source.
    pub(crate) fn mint(&self, kind: Kind) -> Result<Minted, SysError> {
        crate::random::mint(&self.store.keys(), kind)
    }
}

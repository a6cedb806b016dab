//! What the service does, one module for each subject: fetch, decide in the core, save. Free of transport.

mod admission;
pub(crate) mod audit_log;
pub(crate) mod bulk;
pub(crate) mod callers;
pub(crate) mod leaks;
pub(crate) mod organizations;
pub(crate) mod policies;
mod retries;
pub(crate) mod rotation;
pub(crate) mod tokens;
pub(crate) mod verify;
pub(crate) mod workspaces;

use std::sync::Arc;

use rand::rngs::SysError;
use tokend_core::{
    credential::{Kind, Minted},
    scope::ScopeCatalog,
};
use tokend_store::Store;

use crate::{
    tally::{DeniedVerdicts, LeakedSecrets},
    usage::Recorder,
};

/// What every use case needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) catalog: Arc<ScopeCatalog>,
    pub(crate) denied: DeniedVerdicts,
    pub(crate) leaked: LeakedSecrets,
    pub(crate) usage: Arc<Recorder>,
}

impl Context {
    /// Makes a credential from the system's random source.
    pub(crate) fn mint(&self, kind: Kind) -> Result<Minted, SysError> {
        crate::random::mint(&self.store.keys(), kind)
    }
}

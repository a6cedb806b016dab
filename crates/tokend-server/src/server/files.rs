use std::{fs::File, sync::Arc};

use tokend_core::{scope::ScopeCatalog, time::Clock};

use super::{ServerSettings, StartError};
use crate::{
    background::{adapters::TlsFilesJob, webhook::Delivery},
    grpc::reflection::Reflection,
    observability::metrics::Telemetry,
};

/// What is read, and can fail, before the database is opened.
pub(super) struct Files {
    pub(super) tls: Option<TlsFilesJob>,
    pub(super) checkpoint_file: Option<File>,
    pub(super) reflection: Option<Reflection>,
    pub(super) catalog: Arc<ScopeCatalog>,
    pub(super) webhook: Option<Delivery>,
}

impl Files {
    pub(super) fn open(settings: &ServerSettings, telemetry: &Telemetry, clock: &Clock) -> Result<Self, StartError> {
        let tls = settings.tls.clone();
        let webhook = settings.webhook.clone();
        Ok(Self {
            tls: tls
                .map(|files| TlsFilesJob::start(files, telemetry, clock.clone()))
                .transpose()?,
            checkpoint_file: settings.audit.open_checkpoint_file()?,
            reflection: settings.reflection.then(Reflection::new).transpose()?,
            catalog: Arc::new(ScopeCatalog::bitbucket()?),
            webhook: webhook
                .map(|webhook| Delivery::open(webhook, clock.clone()))
                .transpose()?,
        })
    }
}

//! The background jobs of a server. Each says by its phase when it stops.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::TcpListener;

use crate::{
    background::{
        adapters::{OpsJob, ReadinessJob, RefusedCallsJob, TlsFilesJob},
        audit_checkpoints::CheckpointJob,
        audit_retention::AuditRetentionJob,
        expiry_notices::ExpiryNoticeJob,
        keyring::KeyRingJob,
        replication::ReplicationJob,
        retention::RetentionJob,
        revocations_file::RevocationsFileJob,
        supervisor::Supervisor,
        usage_flush::UsageFlushJob,
        webhook::Delivery,
    },
    grpc,
    verifier::{follower::FollowFeedJob, measures::UpkeepJob},
};

/// What the jobs need besides the parts that they share with requests.
pub(super) struct JobParts {
    pub(super) tls: Option<TlsFilesJob>,
    pub(super) keyring: Option<PathBuf>,
    pub(super) checkpoint_file: Option<File>,
    pub(super) audit_retention: Duration,
    pub(super) token_retention: Duration,
    pub(super) revocations_file: Option<RevocationsFileJob>,
    pub(super) webhook: Option<Delivery>,
    pub(super) ops_listener: Option<TcpListener>,
}

impl JobParts {
    /// Adds every job to `jobs`.
    pub(super) fn add_to(self, jobs: &mut Supervisor, shared: &grpc::Parts) {
        let Self {
            tls,
            keyring,
            checkpoint_file,
            audit_retention,
            token_retention,
            revocations_file,
            webhook,
            ops_listener,
        } = self;
        let (context, health, telemetry, clock) = (&shared.context, &shared.health, &shared.telemetry, &shared.clock);
        let store = &context.store;

        jobs.add(ReadinessJob::new(health.clone(), store, &context.verifier));
        jobs.add_optional(FollowFeedJob::new(&context.verifier));
        jobs.add(UpkeepJob::new(&context.verifier, telemetry));
        jobs.add(KeyRingJob::new(store, keyring));
        jobs.add(ReplicationJob::new(store, telemetry));
        jobs.add_optional(tls);

        jobs.add(ExpiryNoticeJob::new(store.clone(), clock.clone(), telemetry));
        jobs.add(RetentionJob::new(
            store.clone(),
            clock.clone(),
            token_retention,
            telemetry,
        ));
        jobs.add(AuditRetentionJob::new(store.clone(), audit_retention));
        if let Some(webhook) = webhook {
            let (sending, measuring) = webhook.jobs(store.clone(), telemetry, clock.clone());
            jobs.add(sending);
            jobs.add(measuring);
        }

        jobs.add_optional(revocations_file);
        jobs.add(UsageFlushJob::new(Arc::clone(context), clock.clone()));
        jobs.add(RefusedCallsJob(Arc::clone(&shared.refusals)));

        jobs.add(CheckpointJob::new(store.clone(), checkpoint_file));
        jobs.add_optional(ops_listener.map(|port| OpsJob::new(port, health.clone(), telemetry.clone(), store.clone())));
    }
}

//! Finds the service that serves a path. Paths get here only by a rule in [`rules`](crate::rules).

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokend_proto::v1::{
    audit_log_server::AuditLogServer, caller_admin_server::CallerAdminServer, token_admin_server::TokenAdminServer,
    token_verify_server::TokenVerifyServer, workspace_admin_server::WorkspaceAdminServer,
};
use tonic::{Status, body::Body, codegen::BoxFuture};
use tonic_health::pb::health_server::HealthServer;
use tower::Service;

use crate::{
    health::Probes,
    reflection::Reflection,
    refusal::Refusal,
    services::{
        audit_log::AuditLogService, caller_admin::CallerAdminService, token_admin::TokenAdminService,
        token_verify::TokenVerifyService, workspace_admin::WorkspaceAdminService,
    },
};

/// Most bytes of a Verify request.
const VERIFY_BYTES: usize = 16 * 1024;
/// Most bytes of a BatchVerify request.
const BATCH_VERIFY_BYTES: usize = 2 * 1024 * 1024;
/// Most bytes of an administrative request.
const ADMIN_BYTES: usize = 64 * 1024;
/// Most bytes of an administrative request that is about many things.
const BULK_BYTES: usize = 1024 * 1024;
/// Most bytes of an administrative answer.
const ADMIN_ANSWER_BYTES: usize = 1024 * 1024;

/// Every service, each with its limits.
#[derive(Clone)]
pub(crate) struct Dispatch {
    verify: TokenVerifyServer<TokenVerifyService>,
    batch_verify: TokenVerifyServer<TokenVerifyService>,
    token_admin: TokenAdminServer<TokenAdminService>,
    bulk_revocation: TokenAdminServer<TokenAdminService>,
    workspace_admin: WorkspaceAdminServer<WorkspaceAdminService>,
    caller_admin: CallerAdminServer<CallerAdminService>,
    audit_log: AuditLogServer<AuditLogService>,
    health: HealthServer<Probes>,
    reflection: Option<Reflection>,
}

/// What the services are made of.
pub(crate) struct Services {
    pub(crate) token_verify: TokenVerifyService,
    pub(crate) token_admin: TokenAdminService,
    pub(crate) workspace_admin: WorkspaceAdminService,
    pub(crate) caller_admin: CallerAdminService,
    pub(crate) audit_log: AuditLogService,
    pub(crate) health: Probes,
    pub(crate) reflection: Option<Reflection>,
}

impl Dispatch {
    pub(crate) fn new(services: Services) -> Self {
        let Services { token_verify, token_admin, workspace_admin, caller_admin, audit_log, health, reflection } = services;
        let (token_verify, token_admin) = (Arc::new(token_verify), Arc::new(token_admin));
        Self {
            verify: TokenVerifyServer::from_arc(Arc::clone(&token_verify)).max_decoding_message_size(VERIFY_BYTES),
            batch_verify: TokenVerifyServer::from_arc(token_verify).max_decoding_message_size(BATCH_VERIFY_BYTES),
            token_admin: TokenAdminServer::from_arc(Arc::clone(&token_admin))
                .max_decoding_message_size(ADMIN_BYTES)
                .max_encoding_message_size(ADMIN_ANSWER_BYTES),
            bulk_revocation: TokenAdminServer::from_arc(token_admin)
                .max_decoding_message_size(BULK_BYTES)
                .max_encoding_message_size(ADMIN_ANSWER_BYTES),
            workspace_admin: WorkspaceAdminServer::new(workspace_admin)
                .max_decoding_message_size(ADMIN_BYTES)
                .max_encoding_message_size(ADMIN_ANSWER_BYTES),
            caller_admin: CallerAdminServer::new(caller_admin)
                .max_decoding_message_size(ADMIN_BYTES)
                .max_encoding_message_size(ADMIN_ANSWER_BYTES),
            audit_log: AuditLogServer::new(audit_log)
                .max_decoding_message_size(ADMIN_BYTES)
                .max_encoding_message_size(ADMIN_ANSWER_BYTES),
            health: HealthServer::new(health).max_decoding_message_size(VERIFY_BYTES),
            reflection,
        }
    }
}

impl Service<Request<Body>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated services are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        match service_of(path) {
            "tokend.v1.TokenVerify" if path.ends_with("/BatchVerify") => self.batch_verify.call(request),
            "tokend.v1.TokenVerify" => self.verify.call(request),
            "tokend.v1.TokenAdmin" if path.ends_with("/RevokeLeakedTokens") || path.ends_with("/BatchRevokeTokens") => {
                self.bulk_revocation.call(request)
            }
            "tokend.v1.TokenAdmin" => self.token_admin.call(request),
            "tokend.v1.WorkspaceAdmin" => self.workspace_admin.call(request),
            "tokend.v1.CallerAdmin" => self.caller_admin.call(request),
            "tokend.v1.AuditLog" => self.audit_log.call(request),
            "grpc.health.v1.Health" => self.health.call(request),
            service => match &mut self.reflection {
                Some(reflection) if Reflection::serves(service) => reflection.call(request),
                _ => {
                    let refusal = Refusal::UnknownMethod(path.to_owned());
                    Box::pin(async move { Ok(Status::from(refusal).into_http()) })
                }
            },
        }
    }
}

/// Most bytes of the message of a call to `path`, whether or not there is such a method; none where messages come one after another.
pub(crate) fn message_limit(path: &str) -> Option<usize> {
    match service_of(path) {
        service if Reflection::serves(service) => None,
        "tokend.v1.TokenVerify" if path.ends_with("/BatchVerify") => Some(BATCH_VERIFY_BYTES),
        "tokend.v1.TokenVerify" | "grpc.health.v1.Health" => Some(VERIFY_BYTES),
        "tokend.v1.TokenAdmin" if path.ends_with("/RevokeLeakedTokens") || path.ends_with("/BatchRevokeTokens") => Some(BULK_BYTES),
        _ => Some(ADMIN_BYTES),
    }
}

/// The service of a path `/{service}/{method}`.
fn service_of(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service)
}

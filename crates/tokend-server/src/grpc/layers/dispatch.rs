//! Passes a call on to the service that serves its operation.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokend_proto::v1::{
    audit_log_server::{self, AuditLogServer},
    caller_admin_server::{self, CallerAdminServer},
    token_admin_server::{self, TokenAdminServer},
    token_verify_server::{self, TokenVerifyServer},
    workspace_admin_server::{self, WorkspaceAdminServer},
};
use tonic::body::Body;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::pb::{v1, v1alpha};
use tower::Service;

use super::{
    framework_errors::stream_in_our_form,
    middleware::{Answer, refuse},
};
use crate::{
    error::ServiceError,
    grpc::reflection::{Reflection, Version},
    grpc::services::{
        audit_log::AuditLogService, caller_admin::CallerAdminService, token_admin::TokenAdminService,
        token_verify::TokenVerifyService, workspace_admin::WorkspaceAdminService,
    },
    observability::health::Probes,
    operation::{Facts, Operation},
};

/// Every service.
#[derive(Clone)]
pub(crate) struct Dispatch {
    token_verify: TokenVerifyServer<TokenVerifyService>,
    token_admin: TokenAdminServer<TokenAdminService>,
    workspace_admin: WorkspaceAdminServer<WorkspaceAdminService>,
    caller_admin: CallerAdminServer<CallerAdminService>,
    audit_log: AuditLogServer<AuditLogService>,
    health: HealthServer<Probes>,
    reflection: Option<Reflection>,
}

/// The implementations of the services.
pub(crate) struct Services {
    pub(crate) token_verify: TokenVerifyService,
    pub(crate) token_admin: TokenAdminService,
    pub(crate) workspace_admin: WorkspaceAdminService,
    pub(crate) caller_admin: CallerAdminService,
    pub(crate) audit_log: AuditLogService,
    pub(crate) health: Probes,
    pub(crate) reflection: Option<Reflection>,
}

/// Most bytes of one message of a stream of requests.
const STREAMED_BYTES: usize = 512 * 1024;

/// Most bytes of the messages of a service, as the framework checks them. The limit of each operation is checked
/// [before](super::message).
struct Sizes {
    requests: usize,
    answers: usize,
}

/// Wraps the implementation of a service of the contract.
macro_rules! server {
    ($server:ident, $module:ident, $service:expr) => {{
        let Sizes { requests, answers } = Sizes::of($module::SERVICE_NAME);
        $server::new($service)
            .max_decoding_message_size(requests)
            .max_encoding_message_size(answers)
    }};
}

impl Dispatch {
    pub(crate) fn new(services: Services) -> Self {
        Self {
            token_verify: server!(TokenVerifyServer, token_verify_server, services.token_verify),
            token_admin: server!(TokenAdminServer, token_admin_server, services.token_admin),
            workspace_admin: server!(WorkspaceAdminServer, workspace_admin_server, services.workspace_admin),
            caller_admin: server!(CallerAdminServer, caller_admin_server, services.caller_admin),
            audit_log: server!(AuditLogServer, audit_log_server, services.audit_log),
            health: server!(HealthServer, health_server, services.health),
            reflection: services.reflection,
        }
    }
}

impl Sizes {
    /// Returns the largest limits of the service's operations.
    fn of(service: &str) -> Self {
        let facts = Operation::ALL
            .iter()
            .filter(|operation| operation.service() == service)
            .map(|operation| operation.facts());
        let largest = |sizes: &mut dyn Iterator<Item = Option<usize>>| {
            sizes.map(|size| size.unwrap_or(usize::MAX)).max().unwrap_or_default()
        };
        // Only a stream of requests has no limit of its own.
        let requests = |facts: &Facts| Some(facts.request_bytes.unwrap_or(STREAMED_BYTES));
        Self {
            requests: largest(&mut facts.clone().map(requests)),
            answers: largest(&mut facts.map(|facts| facts.answer_bytes)),
        }
    }
}

impl Service<Request<Body>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated services are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let unknown = |request: &Request<Body>| refuse(ServiceError::UnknownMethod(request.uri().path().to_owned()));
        let Some(operation) = request.extensions().get::<Operation>().copied() else {
            return unknown(&request);
        };
        match operation.service() {
            token_verify_server::SERVICE_NAME if operation == Operation::Watch => {
                let answer = self.token_verify.call(request);
                Box::pin(async move { Ok(answer.await?.map(stream_in_our_form)) })
            }
            token_verify_server::SERVICE_NAME => self.token_verify.call(request),
            token_admin_server::SERVICE_NAME => self.token_admin.call(request),
            workspace_admin_server::SERVICE_NAME => self.workspace_admin.call(request),
            caller_admin_server::SERVICE_NAME => self.caller_admin.call(request),
            audit_log_server::SERVICE_NAME => self.audit_log.call(request),
            health_server::SERVICE_NAME => self.health.call(request),
            service => match (&mut self.reflection, service) {
                (Some(reflection), v1::server_reflection_server::SERVICE_NAME) => reflection.call(Version::V1, request),
                (Some(reflection), v1alpha::server_reflection_server::SERVICE_NAME) => {
                    reflection.call(Version::V1Alpha, request)
                }
                _ => unknown(&request),
            },
        }
    }
}

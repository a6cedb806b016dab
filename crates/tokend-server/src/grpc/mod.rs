//! The gRPC face: layers that every request passes, the contract's handlers, and reflection.

pub(crate) mod call;
pub(crate) mod layers;
pub(crate) mod paging;
pub(crate) mod reflection;
pub(crate) mod services;
pub(crate) mod short_path;

use std::sync::Arc;

use tokend_core::time::Clock;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use self::{
    layers::{
        admission::Admission,
        authenticate::Gate,
        bounds::Bounds,
        dispatch::{Dispatch, Services},
        framework_errors::in_our_form,
        hygiene::Hygiene,
        message::Messages,
        middleware::Around,
        panics::Panics,
        refusals::Refusals,
        sensitive::hide_credentials,
        telemetry::Requests,
    },
    reflection::Reflection,
    services::{
        audit_log::AuditLogService, caller_admin::CallerAdminService, token_admin::TokenAdminService,
        token_verify::TokenVerifyService, workspace_admin::WorkspaceAdminService,
    },
    short_path::{ShortPath, VerifyFromMemory},
};
use crate::{
    limits::Limits,
    observability::{health::Health, metrics::Telemetry, refusal_record::Recorder},
    transport::ConnectionService,
    usecases::Context,
};

/// What the gRPC face is built from.
pub(crate) struct Parts {
    pub(crate) context: Arc<Context>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Limits,
    pub(crate) refusals: Arc<Recorder>,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Clock,
    pub(crate) health: Health,
    /// Server reflection, if it is served.
    pub(crate) reflection: Option<Reflection>,
    /// Ends streams, which would otherwise hold up the drain.
    pub(crate) draining: CancellationToken,
}

/// Builds the service that answers every gRPC request. [`layers`] tells what each layer is for, [`short_path`] which
/// calls pass none.
pub(crate) fn service(parts: Parts) -> impl ConnectionService {
    let Parts {
        context,
        gate,
        limits,
        refusals,
        telemetry,
        clock,
        health,
        reflection,
        draining,
    } = parts;
    let verify = Arc::new(VerifyFromMemory {
        context: Arc::clone(&context),
        gate: Arc::clone(&gate),
        telemetry: telemetry.clone(),
        clock: clock.clone(),
        max_in_flight_per_connection: limits.max_in_flight_per_connection,
    });
    let services = Services {
        token_verify: TokenVerifyService {
            context: Arc::clone(&context),
            stop: draining.clone(),
        },
        token_admin: TokenAdminService(Arc::clone(&context)),
        workspace_admin: WorkspaceAdminService(Arc::clone(&context)),
        caller_admin: CallerAdminService(Arc::clone(&context)),
        audit_log: AuditLogService {
            context,
            stop: draining.clone(),
        },
        health: health.service(draining),
        reflection,
    };
    // The outermost layer comes first.
    let layers = ServiceBuilder::new()
        .map_request(hide_credentials)
        .layer(Around(Requests {
            telemetry,
            clock: clock.clone(),
        }))
        .layer(Around(Hygiene))
        .layer(Around(Refusals(refusals)))
        .map_response(in_our_form)
        .layer(Around(Panics))
        .layer(Around(Bounds {
            limits: limits.clone(),
            clock,
        }))
        .layer(Around(Arc::clone(&gate)))
        .layer(Around(Messages::new(gate, &limits)))
        .layer(Around(Admission::new(&limits)))
        .service(Dispatch::new(services));
    ShortPath { verify, layers }
}

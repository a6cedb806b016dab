//! What every request passes, written once, outermost first:
//!
//! [`telemetry`] -> [`framework_errors`] -> [`authenticate`] -> [`dispatch`] -> a service.

pub(crate) mod authenticate;
pub(crate) mod dispatch;
pub(crate) mod framework_errors;
pub(crate) mod telemetry;

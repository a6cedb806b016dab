//! What every request passes, written once, outermost first:
//!
//! [`sensitive`] -> [`telemetry`] -> [`refusals`] -> [`framework_errors`] -> [`panics`] -> [`admission`] -> [`authenticate`] ->
//! [`dispatch`] -> a service.

pub(crate) mod admission;
pub(crate) mod authenticate;
pub(crate) mod dispatch;
pub(crate) mod framework_errors;
pub(crate) mod panics;
pub(crate) mod refusals;
pub(crate) mod sensitive;
pub(crate) mod telemetry;
pub(crate) mod traffic;

mod deadline;
mod latency;

//! What every request passes, written once, outermost first:
//!
//! [`sensitive`] -> [`telemetry`] -> [`framework_errors`] -> [`panics`] -> [`authenticate`] -> [`dispatch`] -> a service.

pub(crate) mod authenticate;
pub(crate) mod dispatch;
pub(crate) mod framework_errors;
pub(crate) mod panics;
pub(crate) mod sensitive;
pub(crate) mod telemetry;

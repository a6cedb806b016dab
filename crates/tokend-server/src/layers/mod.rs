//! What every request passes, written once, outermost first:
//!
//! [`sensitive`] -> [`telemetry`] -> [`hygiene`] -> [`refusals`] -> [`framework_errors`] -> [`panics`] -> [`bounds`] ->
//! [`authenticate`] -> [`message`] -> [`admission`] -> [`dispatch`] -> a service.
//!
//! A call takes room from others only when it is known who calls and the whole message is there.

pub(crate) mod admission;
pub(crate) mod authenticate;
pub(crate) mod bounds;
pub(crate) mod dispatch;
pub(crate) mod framework_errors;
pub(crate) mod hygiene;
pub(crate) mod message;
pub(crate) mod panics;
pub(crate) mod refusals;
pub(crate) mod sensitive;
pub(crate) mod telemetry;
pub(crate) mod traffic;

mod deadline;
mod latency;

//! What every request passes, in this order:
//!
//! [`sensitive`] -> [`telemetry`] -> [`hygiene`] -> [`refusals`] -> [`framework_errors`] -> [`panics`] -> [`bounds`] ->
//! [`authenticate`] -> [`message`] -> [`admission`] -> [`dispatch`] -> a service.
//!
//! A call takes room from others only when its caller is known and its whole message is there.

pub(crate) mod admission;
pub(crate) mod authenticate;
pub(crate) mod bounds;
pub(crate) mod dispatch;
pub(crate) mod framework_errors;
pub(crate) mod hygiene;
pub(crate) mod message;
pub(crate) mod middleware;
pub(crate) mod outcome;
pub(crate) mod panics;
pub(crate) mod refusals;
pub(crate) mod sensitive;
pub(crate) mod telemetry;

mod deadline;

//! What is promised of the ratios, and what is aimed at.

use serde::Serialize;

use super::contenders::Kind;
use crate::driver::Shape;

/// The limits of one ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Promise {
    pub(super) promise: f64,
    pub(super) aim: f64,
}

/// The limits of the ratios of one comparison. A ratio without a limit is not promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Promises {
    /// CPU for each call: at most.
    pub(super) cpu: Option<Promise>,
    /// Calls per second: at least.
    pub(super) rate: Option<Promise>,
    /// The 99th percentile of latencies: at most.
    pub(super) p99: Option<Promise>,
}

const fn limits(promise: f64, aim: f64) -> Option<Promise> {
    Some(Promise { promise, aim })
}

/// Returns what is promised of a Verify relative to `kind`. With many calls in flight on few connections, the cost is
/// what tokend does; with one on each connection, it is system calls.
pub(super) fn promises(kind: Kind, shape: Shape, tls: bool) -> Promises {
    let has_many_streams = shape.streams >= 8;
    match kind {
        Kind::StockTonic if tls && has_many_streams => Promises {
            cpu: limits(0.75, 0.60),
            ..Promises::default()
        },
        Kind::StockTonic if !tls && has_many_streams => Promises {
            cpu: limits(0.65, 0.50),
            rate: limits(1.5, 2.0),
            p99: limits(1.0, 0.8),
        },
        Kind::StockTonic if !tls => Promises {
            cpu: limits(1.15, 1.0),
            ..Promises::default()
        },
        Kind::SameLoop if !tls => Promises {
            cpu: limits(1.35, 1.10),
            ..Promises::default()
        },
        Kind::FewTokens => Promises {
            cpu: limits(1.15, 1.05),
            ..Promises::default()
        },
        _ => Promises::default(),
    }
}

//! Starts servers again and again: the time until they serve, and their memory when they are idle.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tokio::time::sleep;

use crate::{
    BoxError,
    servers::{Installation, Memory},
    statistics::Estimate,
};

const MIB: f64 = 1_048_576.0;

/// What was measured at the starts of two servers, and the first one's divided by the second one's.
#[derive(Debug, Serialize)]
pub(super) struct Starts {
    pub(super) starts: u32,
    /// Milliseconds from the start of the process to SERVING.
    pub(super) serving_ms: Compared,
    /// MiB of resident memory.
    pub(super) resident_mib: Compared,
    /// MiB of it that the process has allocated.
    pub(super) anonymous_mib: Compared,
}

/// A figure with many tokens, with few, and the ratio.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) many: Estimate,
    pub(super) few: Estimate,
    pub(super) ratio: Estimate,
}

/// The figures of each start of one server.
#[derive(Debug, Default)]
struct Series {
    serving_ms: Vec<f64>,
    resident_mib: Vec<f64>,
    anonymous_mib: Vec<f64>,
}

/// Starts a server on each of the installations, one after the other and in alternating order, `count` times.
pub(super) async fn measure(
    installations: [&Installation; 2],
    tokend: &Path,
    count: u32,
    idle_after: Duration,
) -> Result<Starts, BoxError> {
    let mut series = [Series::default(), Series::default()];
    for round in 0..count {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for index in order {
            let server = installations[index].serve(tokend, &format!("start-{round}"), None)?;
            series[index].serving_ms.push(server.start_time().as_secs_f64() * 1e3);
            sleep(idle_after).await;
            let Memory { resident, anonymous } = server.memory()?;
            series[index].resident_mib.push(resident / MIB);
            series[index].anonymous_mib.push(anonymous / MIB);
            server.stop()?;
        }
    }
    let [many, few] = series;
    Ok(Starts {
        starts: count,
        serving_ms: Compared::of(&many.serving_ms, &few.serving_ms),
        resident_mib: Compared::of(&many.resident_mib, &few.resident_mib),
        anonymous_mib: Compared::of(&many.anonymous_mib, &few.anonymous_mib),
    })
}

impl Compared {
    /// Compares figures that were measured in pairs.
    fn of(many: &[f64], few: &[f64]) -> Self {
        let ratios: Vec<f64> = many.iter().zip(few).map(|(many, few)| many / few).collect();
        Self {
            many: Estimate::of(many),
            few: Estimate::of(few),
            ratio: Estimate::of(&ratios),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_pairs() {
        let compared = Compared::of(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]);
        assert!((compared.ratio.median - 2.0).abs() < 1e-9 && (compared.many.median - 20.0).abs() < 1e-9);
        assert!((compared.ratio.low - compared.ratio.high).abs() < 1e-9, "{compared:?}");
    }
}

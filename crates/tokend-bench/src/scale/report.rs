//! The results, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::starts::{Compared, Starts};
use crate::{statistics::Estimate, verify};

/// The limits of a figure of the server with many tokens: what is promised, and what is aimed at.
struct Limits {
    promise: f64,
    aim: f64,
}

/// Milliseconds from the start of the process to SERVING.
const SERVING: Limits = Limits {
    promise: 1_000.0,
    aim: 300.0,
};
/// MiB of resident memory of an idle server.
const RESIDENT: Limits = Limits {
    promise: 40.0,
    aim: 20.0,
};

/// The results.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) stored: TokensStored,
    pub(super) idle_after_seconds: u64,
    #[serde(flatten)]
    pub(super) starts: Starts,
    pub(super) verify: verify::Report,
}

/// How many tokens the two databases have.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct TokensStored {
    pub(super) many: u64,
    pub(super) few: u64,
    /// How fast the many were stored, if that was done in this run.
    pub(super) loaded_per_second: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stored:
                TokensStored {
                    many,
                    few,
                    loaded_per_second,
                },
            idle_after_seconds,
            starts:
                Starts {
                    starts,
                    serving_ms,
                    resident_mib,
                    anonymous_mib,
                },
            verify,
        } = self;
        write!(f, "{many} stored tokens beside {few}")?;
        if let Some(rate) = loaded_per_second {
            write!(f, ", loaded with {rate:.0} tokens/s")?;
        }
        writeln!(f, "; medians of {starts} starts\n")?;
        let resident = format!("RSS {idle_after_seconds} s after it, MiB");
        for (what, compared, limits) in [
            ("start to SERVING, ms", serving_ms, Some(SERVING)),
            (&resident, resident_mib, Some(RESIDENT)),
            ("of it allocated, MiB", anonymous_mib, None),
        ] {
            writeln!(f, "{}", line(what, compared, limits))?;
        }
        write!(f, "\n{verify}")
    }
}

fn line(what: &str, compared: &Compared, limits: Option<Limits>) -> String {
    let Compared { many, few, ratio } = compared;
    let figure = |Estimate { median, low, high }: &Estimate| format!("{median:.1} [{low:.1}, {high:.1}]");
    let (many_figure, few, ratio) = (figure(many), figure(few), ratio.median);
    let compared = format!("{what:<24} {many_figure} | few: {few} | ratio {ratio:.2}");
    let Some(Limits { promise, aim }) = limits else {
        return compared;
    };
    let kept = if many.median <= promise { "kept" } else { "not kept" };
    format!("{compared} | promise <= {promise:.0}: {kept}; aim {aim:.0}")
}

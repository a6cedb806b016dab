//! The results of a run, as a table and as JSON.

use std::fmt;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    Outcome,
    contenders::Kind,
    promises::{Promise, Promises, promises},
};
use crate::{
    driver::{Shape, Window},
    machine::Busy,
    statistics::{Estimate, median},
};

/// What was measured with one shape: in each round, one window for each server.
pub(super) struct Measured {
    pub(super) shape: Shape,
    pub(super) kinds: Vec<Kind>,
    pub(super) rounds: Vec<Vec<Window>>,
}

/// The results.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Busy,
    from_memory: f64,
    #[serde(flatten)]
    setting: Setting,
    shapes: Vec<OfShape>,
}

/// What was measured, and how.
#[derive(Serialize)]
pub(crate) struct Setting {
    pub(crate) database: &'static str,
    pub(crate) tls: bool,
    pub(crate) tokens: u64,
    pub(crate) verified_tokens: usize,
    pub(crate) pairs: u32,
    pub(crate) window_ms: u128,
    pub(crate) short: bool,
}

#[derive(Serialize)]
struct OfShape {
    connections: usize,
    streams: usize,
    servers: Vec<Figures>,
    comparisons: Vec<Comparison>,
}

/// The medians of one server.
#[derive(Serialize)]
struct Figures {
    server: Kind,
    cpu_micros: f64,
    driver_cpu_micros: f64,
    calls_per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
}

/// tokend's figures divided by another server's.
#[derive(Serialize)]
struct Comparison {
    with: Kind,
    cpu: Estimate,
    calls_per_second: Estimate,
    p99: Estimate,
    promises: Promises,
}

impl Report {
    pub(crate) fn new(setting: Setting, outcome: &Outcome) -> Self {
        let of_shape = |measured: &Measured| OfShape::new(measured, setting.tls);
        Self {
            machine: outcome.machine,
            from_memory: outcome.from_memory,
            shapes: outcome.measured.iter().map(of_shape).collect(),
            setting,
        }
    }
}

impl OfShape {
    fn new(measured: &Measured, tls: bool) -> Self {
        let Measured { shape, kinds, rounds } = measured;
        let all = |index: usize, figure: &dyn Fn(&Window) -> f64| -> Vec<f64> {
            rounds.iter().map(|round| figure(&round[index])).collect()
        };
        let figures = |(index, kind): (usize, &Kind)| Figures {
            server: *kind,
            cpu_micros: median(all(index, &Window::server_micros)),
            driver_cpu_micros: median(all(index, &Window::driver_micros)),
            calls_per_second: median(all(index, &Window::rate)),
            p50_micros: median(all(index, &|window| window.latency_micros(0.5))),
            p99_micros: median(all(index, &|window| window.latency_micros(0.99))),
        };
        let ratio = |index: usize, figure: &dyn Fn(&Window) -> f64| {
            let (ours, theirs) = (all(0, figure), all(index, figure));
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            Estimate::of(&ratios)
        };
        let comparison = |(index, kind): (usize, &Kind)| Comparison {
            with: *kind,
            cpu: ratio(index, &Window::server_micros),
            calls_per_second: ratio(index, &Window::rate),
            p99: ratio(index, &|window| window.latency_micros(0.99)),
            promises: promises(*kind, *shape, tls),
        };
        Self {
            connections: shape.connections,
            streams: shape.streams,
            servers: kinds.iter().enumerate().map(figures).collect(),
            comparisons: kinds.iter().enumerate().skip(1).map(comparison).collect(),
        }
    }

    fn name(&self) -> String {
        format!("{}x{}", self.connections, self.streams)
    }
}

impl Comparison {
    /// Returns the promises, the aims, and which promises were kept. Of a short run, nobody can say.
    fn limits(&self, is_short: bool) -> [String; 3] {
        let Promises { cpu, rate, p99 } = self.promises;
        let limits = [
            ("CPU", "<=", cpu, self.cpu),
            ("calls/s", ">=", rate, self.calls_per_second),
            ("p99", "<=", p99, self.p99),
        ];
        let (mut promise, mut aim, mut missed) = (Vec::new(), Vec::new(), Vec::new());
        for (name, sign, limit, ratio) in limits {
            let Some(Promise { promise: at, aim: wish }) = limit else {
                continue;
            };
            promise.push(format!("{name} {sign} {at:.2}"));
            aim.push(format!("{name} {sign} {wish:.2}"));
            let is_kept = if sign == "<=" {
                ratio.median <= at
            } else {
                ratio.median >= at
            };
            if !is_kept {
                missed.push(name);
            }
        }
        let kept = match (promise.is_empty() || is_short, missed.is_empty()) {
            (true, _) => String::new(),
            (false, true) => "yes".to_owned(),
            (false, false) => format!("not {}", missed.join(", ")),
        };
        [promise.join("\n"), aim.join("\n"), kept]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            from_memory,
            setting,
            shapes,
        } = self;
        let Setting {
            database,
            tls,
            tokens,
            verified_tokens,
            pairs,
            window_ms,
            short,
        } = setting;
        let tls = if *tls { "TLS 1.3" } else { "no TLS" };
        writeln!(
            f,
            "Verify of {verified_tokens} of {tokens} tokens on {database}, {tls}; medians of {pairs} pairs of windows \
             of {window_ms} ms"
        )?;
        writeln!(
            f,
            "{machine}; {:.2} % of tokend's look-ups were answered from memory\n",
            from_memory * 100.0
        )?;
        if *short {
            writeln!(
                f,
                "A short run: it shows that everything works, and its figures mean nothing.\n"
            )?;
        }
        let mut servers = table(&[
            "shape",
            "server",
            "CPU us/call",
            "driver us/call",
            "calls/s",
            "p50 us",
            "p99 us",
        ]);
        let mut ratios = table(&[
            "shape",
            "what",
            "CPU us/call",
            "CPU ratio",
            "calls/s ratio",
            "p99 ratio",
            "promise",
            "kept",
            "aim",
        ]);
        for shape in shapes {
            for figures in &shape.servers {
                servers.add_row(figures.row(shape));
            }
            for comparison in &shape.comparisons {
                ratios.add_row(comparison.row(shape, *short));
            }
        }
        for table in [&mut servers, &mut ratios] {
            for column in table.column_iter_mut().skip(2).take(5) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{servers}")?;
        if !ratios.is_empty() {
            write!(
                f,
                "\n\nMedians of ratios, with intervals that hold the median with 95 % confidence\n{ratios}"
            )?;
        }
        Ok(())
    }
}

impl Figures {
    fn row(&self, shape: &OfShape) -> Vec<Cell> {
        let server = match self.server {
            Kind::Tokend => "tokend",
            Kind::Against => "the other build",
            Kind::Noise => "tokend again",
            Kind::FewTokens => "tokend, few tokens",
            Kind::StockTonic => "empty, stock tonic",
            Kind::SameLoop => "empty, same loop",
        };
        let micros = [self.cpu_micros, self.driver_cpu_micros].map(|micros| format!("{micros:.2}"));
        let rest = [self.calls_per_second, self.p50_micros, self.p99_micros].map(|number| format!("{number:.0}"));
        [shape.name(), server.to_owned()]
            .into_iter()
            .chain(micros)
            .chain(rest)
            .map(Cell::new)
            .collect()
    }
}

impl Comparison {
    fn row(&self, shape: &OfShape, is_short: bool) -> Vec<Cell> {
        let what = match self.with {
            Kind::Tokend | Kind::Noise => "Verify / itself (noise)",
            Kind::Against => "Verify / the other build",
            Kind::FewTokens => "Verify / few tokens",
            Kind::StockTonic => "Verify / stock tonic",
            Kind::SameLoop => "Verify / same loop",
        };
        let cpu = |kind| {
            let of_kind = shape.servers.iter().find(|figures| figures.server == kind);
            of_kind.map_or(0.0, |figures| figures.cpu_micros)
        };
        let cpus = format!("{:.2} / {:.2}", cpu(Kind::Tokend), cpu(self.with));
        let ratios = [self.cpu, self.calls_per_second, self.p99].map(|estimate| {
            let Estimate { median, low, high } = estimate;
            format!("{median:.3} [{low:.3}, {high:.3}]")
        });
        let [promise, aim, kept] = self.limits(is_short);
        [shape.name(), what.to_owned(), cpus]
            .into_iter()
            .chain(ratios)
            .chain([promise, kept, aim])
            .map(Cell::new)
            .collect()
    }
}

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().copied());
    table
}

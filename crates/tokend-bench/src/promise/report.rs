//! The table.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::endpoint::Wrong;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) name: String,
    /// The value.
    pub(super) measured: f64,
    /// Its unit.
    pub(super) unit: Unit,
    /// Where the value lies with a probability of 95 %, if that was estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<(f64, f64)>,
    /// The target: the value should be at most this. A figure without a target informs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_most: Option<f64>,
    /// Whether the target is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reached: Option<bool>,
    /// How often it was measured, and what else is worth knowing.
    pub(super) note: String,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// How many times as much.
    Times,
    /// Percent.
    Percent,
    /// A number of something.
    Count,
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `release` or `dev`.
    profile: &'static str,
    /// Whether the run was too short for figures.
    short: bool,
    /// The machine's processors.
    processors: usize,
    /// The load average of one minute at the start and at the end.
    load: (f64, f64),
    figures: Vec<Figure>,
    /// Without PostgreSQL, only some figures are measured.
    has_postgres: bool,
    wrong_verdicts: u64,
    /// The first ones.
    wrong: Vec<String>,
}

impl Figure {
    /// Creates a figure without a target.
    pub(super) fn new(name: impl Into<String>, measured: f64, unit: Unit, note: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            measured,
            unit,
            interval: None,
            at_most: None,
            reached: None,
            note: note.into(),
        }
    }

    pub(super) fn of_duration(name: impl Into<String>, measured: Duration, note: impl Into<String>) -> Self {
        Self::new(name, millis(measured), Unit::Milliseconds, note)
    }

    /// Adds the target.
    pub(super) fn at_most(self, most: f64) -> Self {
        Self {
            at_most: Some(most),
            reached: Some(self.measured <= most),
            ..self
        }
    }

    pub(super) fn within(self, interval: (f64, f64)) -> Self {
        Self {
            interval: Some(interval),
            ..self
        }
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Times => format!("{value:.2} times"),
            Self::Percent => format!("{value:.2} %"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Report {
    pub(super) fn begin(short: bool) -> Self {
        Self {
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            short,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            load: (load_average(), 0.0),
            figures: Vec::new(),
            has_postgres: true,
            wrong_verdicts: 0,
            wrong: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    /// Adds figures that need PostgreSQL. Without them, records that no PostgreSQL was found.
    pub(super) fn add_or_miss(&mut self, figures: Option<Vec<Figure>>) {
        match figures {
            Some(figures) => self.add(figures),
            None => self.has_postgres = false,
        }
    }

    pub(super) fn end(&mut self, wrong: &Wrong) {
        self.load.1 = load_average();
        (self.wrong_verdicts, self.wrong) = wrong.take();
    }

    /// Returns whether no verdict was wrong.
    #[must_use]
    pub(super) const fn is_right(&self) -> bool {
        self.wrong_verdicts == 0
    }

    /// Returns the report in JSON.
    ///
    /// # Errors
    /// None that can happen.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns the report in Markdown.
    #[must_use]
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("| figure | measured | target | reached |\n|---|---|---|---|\n");
        for figure in &self.figures {
            let mut measured = figure.unit.text(figure.measured);
            if let Some((low, high)) = figure.interval {
                let (low, high) = (figure.unit.text(low), figure.unit.text(high));
                let _ = write!(measured, " ({low} to {high})");
            }
            let target = figure.at_most.map(|most| format!("≤ {}", figure.unit.text(most)));
            let reached = figure
                .reached
                .map_or("", |reached| if reached { "yes" } else { "**no**" });
            let _ = writeln!(
                text,
                "| {} | {measured} | {} | {reached} |",
                figure.name,
                target.unwrap_or_default()
            );
        }
        let wrong = self.wrong_verdicts;
        let reached = if self.is_right() { "yes" } else { "**no**" };
        let _ = writeln!(text, "| wrong verdicts, in all of this | {wrong} | 0 | {reached} |\n");
        for figure in self.figures.iter().filter(|figure| !figure.note.is_empty()) {
            let _ = writeln!(text, "- {}: {}", figure.name, figure.note);
        }
        if !self.has_postgres {
            text.push_str("- PostgreSQL was not found: the figures that need it were not measured\n");
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "- WRONG: {wrong}");
        }
        let (before, after) = self.load;
        let _ = writeln!(
            text,
            "\n{} build, {} processors, load average {before:.2} before and {after:.2} after.",
            self.profile, self.processors
        );
        if self.short {
            text.push_str("This run was too short for figures.\n");
        }
        text
    }
}

/// Returns a duration in milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the load average of the last minute: how busy the machine is.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_and_a_wrong_verdict_are_seen() {
        let mut report = Report::begin(true);
        report.add(vec![
            Figure::new("fast", 1.0, Unit::Milliseconds, "twice").at_most(1.0),
            Figure::new("slow", 1.5, Unit::Times, "").at_most(1.0),
            Figure::new("count", 7.0, Unit::Count, ""),
        ]);
        assert!(report.is_right());
        (report.wrong_verdicts, report.wrong) = (1, vec!["an ALLOW".to_owned()]);
        assert!(!report.is_right());
        let text = report.markdown();
        for line in [
            "| fast | 1.00 ms | ≤ 1.00 ms | yes |",
            "| slow | 1.50 times | ≤ 1.00 times | **no** |",
            "| count | 7 |  |  |",
            "| wrong verdicts, in all of this | 1 | 0 | **no** |",
            "- fast: twice",
            "- WRONG: an ALLOW",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(json["figures"][1]["reached"], false);
        assert_eq!(json["wrong_verdicts"], 1);
    }
}

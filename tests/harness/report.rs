//! The summary of a run, as docs/revocation-harness.md quotes it.

use std::{fmt::Write, time::Duration};

use crate::{clock::Moment, history::Verdict, lab::Lab, measures::Latencies, program::Counts};

/// Returns the summary in Markdown.
pub(crate) fn summary(lab: &Lab, rounds: usize, violations: usize, guards: Counts) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, lab, rounds, violations, guards);
    text
}

fn write(text: &mut String, lab: &Lab, rounds: usize, violations: usize, guards: Counts) -> std::fmt::Result {
    let took = lab.recorder.now().since(Moment::START);
    let (verifies, allowed, denied, rejected) = lab.recorder.with(|history| {
        let count = |is: fn(Verdict) -> bool| history.verifies.iter().filter(|verify| is(verify.verdict)).count();
        (
            history.verifies.len(),
            count(|verdict| matches!(verdict, Verdict::Allow)),
            count(|verdict| matches!(verdict, Verdict::Deny(_))),
            count(|verdict| matches!(verdict, Verdict::Unauthenticated)),
        )
    });
    let changes = lab.recorder.with(|history| history.changes.len());
    let measures = lab.measures();
    writeln!(text, "\n| | |\n|---|---|")?;
    writeln!(text, "| seed | {} |", lab.settings.seed)?;
    writeln!(text, "| servers | {} |", lab.cluster.servers().len())?;
    writeln!(text, "| time | {} s |", took.as_secs())?;
    writeln!(text, "| fault rounds | {rounds} |")?;
    writeln!(text, "| operations | {} |", verifies + changes + measures.created)?;
    writeln!(
        text,
        "| verifications | {verifies}: {allowed} ALLOW, {denied} DENY, {rejected} UNAUTHENTICATED, {} without a verdict |",
        verifies - allowed - denied - rejected
    )?;
    writeln!(text, "| tokens created | {} |", measures.created)?;
    writeln!(text, "| changes attempted | {changes} |")?;
    writeln!(text, "| violations | {violations} |")?;
    let look_ups = |source| {
        lab.cluster
            .servers()
            .iter()
            .map(|server| server.look_ups(source))
            .sum::<u64>()
    };
    let (memory, database) = (look_ups("memory"), look_ups("database"));
    writeln!(
        text,
        "| tokens looked up by the servers that run at the end | {memory} in memory, {database} in the database |"
    )?;
    let Counts {
        hits,
        misses,
        streams,
        resyncs,
        refused_answers,
    } = guards;
    writeln!(
        text,
        "| questions to guards | {hits} answered from a cache, {misses} not |"
    )?;
    writeln!(
        text,
        "| Watch streams of guards | {streams} began, {resyncs} resyncs, {refused_answers} answers too old to be cached |"
    )?;
    let never = measures.never_visible;
    writeln!(
        text,
        "| revocations not visible within 10 s, without faults | {never} |"
    )?;

    writeln!(text, "\n| fault | times |\n|---|---|")?;
    for (fault, times) in &measures.faults {
        writeln!(text, "| {fault} | {times} |")?;
    }
    for (fault, times) in &measures.not_injected {
        writeln!(text, "| not possible: {fault} | {times} |")?;
    }

    writeln!(text, "\n| change | answered well | failed |\n|---|---|---|")?;
    for (rpc, done) in &measures.changes {
        let failed: usize = measures
            .failed_changes
            .iter()
            .filter(|((failed, _), _)| failed == rpc)
            .map(|(_, times)| times)
            .sum();
        writeln!(text, "| {rpc} | {done} | {failed} |")?;
    }

    writeln!(
        text,
        "\n| time | count | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|"
    )?;
    row(text, "RevokeToken, without faults", &measures.quiet_revoke)?;
    row(text, "RevokeToken, at any time", &measures.revoke)?;
    for (endpoint, latencies) in &measures.visible {
        row(
            text,
            &format!("revocation visible at {endpoint}, without faults"),
            latencies,
        )?;
    }
    row(text, "verdicts again after a round", &measures.recovery)?;

    writeln!(text, "\nAnswers without a verdict:\n")?;
    for ((endpoint, status), times) in &measures.no_verdicts {
        writeln!(text, "- {endpoint}: {times} x {status}")?;
    }
    if measures.skipped > 0 {
        writeln!(
            text,
            "- not asked, because too many questions were open: {}",
            measures.skipped
        )?;
    }
    writeln!(text, "\nFailed changes:\n")?;
    for ((rpc, status), times) in &measures.failed_changes {
        writeln!(text, "- {rpc}: {times} x {status}")?;
    }
    Ok(())
}

fn row(text: &mut String, name: &str, latencies: &Latencies) -> std::fmt::Result {
    if latencies.count() == 0 {
        return Ok(());
    }
    let [median, p99, p999, longest] = latencies.quantiles([500, 990, 999, 1_000]).map(millis);
    let count = latencies.count();
    writeln!(text, "| {name} | {count} | {median} | {p99} | {p999} | {longest} |")
}

fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

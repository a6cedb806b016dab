use std::time::Duration;

use rand::TryRng;

/// The longest pause after the first try that failed.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause of all.
const LONGEST: Duration = Duration::from_secs(3 * 60 * 60);

/// How long to wait when the try of that number (from 1) has failed: any time, evenly drawn, up to 5 seconds, which double with
/// each try until they are 3 hours. There is no last try.
///
/// The whole span is drawn from ("full jitter", M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015), so that
/// messages that failed together do not come again together. `wanted` is how long the receiver asked to be left alone: it is, for 3
/// hours at most.
///
/// # Errors
/// Those of the random source.
pub fn pause_after<R: TryRng>(attempt: u64, wanted: Option<Duration>, random: &mut R) -> Result<Duration, R::Error> {
    let span = longest_pause_after(attempt).as_micros() + 1;
    // The upper 64 bits of the product are evenly spread below the span.
    let drawn = (u128::from(random.try_next_u64()?) * span) >> 64;
    let drawn = Duration::from_micros(u64::try_from(drawn).unwrap_or(u64::MAX));
    Ok(drawn.max(wanted.unwrap_or_default().min(LONGEST)))
}

/// The upper bound of [`pause_after`] where the receiver asked for nothing.
#[must_use]
pub fn longest_pause_after(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(2_u32.checked_pow(doublings).unwrap_or(u32::MAX)).min(LONGEST)
}

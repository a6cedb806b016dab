use std::time::Duration;

use rand::TryRng;

/// The longest pause after the first failed attempt.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3 * 60 * 60);

/// Returns how long to wait after a failed attempt, counted from 1: a random time of up to 5 seconds, doubled with each
/// attempt, up to 3 hours. Attempts never stop.
///
/// The time is drawn from the whole range ("full jitter", M. Brooker, "Exponential Backoff And Jitter", AWS
/// Architecture Blog 2015), so that messages which failed together are not sent again together. `wanted` is the pause
/// that the receiver asked for; it is respected up to 3 hours.
///
/// # Errors
/// The error of the random source.
pub fn pause_after<R: TryRng>(attempt: u64, wanted: Option<Duration>, random: &mut R) -> Result<Duration, R::Error> {
    let span = longest_pause_after(attempt).as_micros() + 1;
    // The upper 64 bits of the product are evenly distributed below the span.
    let drawn = (u128::from(random.try_next_u64()?) * span) >> 64;
    let drawn = Duration::from_micros(u64::try_from(drawn).unwrap_or(u64::MAX));
    Ok(drawn.max(wanted.unwrap_or_default().min(LONGEST)))
}

/// Returns the upper bound of [`pause_after`] if the receiver asked for no pause.
#[must_use]
pub fn longest_pause_after(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST
        .saturating_mul(2_u32.checked_pow(doublings).unwrap_or(u32::MAX))
        .min(LONGEST)
}

//! The notation of argument values. The service checks whether a value is allowed.

use jiff::{
    SignedDuration, SpanRelativeTo,
    civil::{DateTime, date},
    fmt::{friendly::SpanParser, temporal::Pieces},
};
use prost_types::{Duration, Timestamp};

/// Parses a duration such as `30d`, `12h`, `90m` or `1h 30m`. A day has 24 hours. Months and years, which have no fixed
/// length, are rejected.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span = SpanParser::new()
        .parse_span(text)
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match span {
        Ok(span) if !span.is_negative() => Ok(Duration {
            seconds: span.as_secs(),
            nanos: span.subsec_nanos(),
        }),
        _ => Err("write weeks, days, hours, minutes or seconds, such as 30d, 12h or 90m".to_owned()),
    }
}

/// Formats a duration as [`duration`] reads it, such as `1d 12h`.
pub(super) fn format_duration(span: &Duration) -> String {
    let (mut left, mut parts) = (span.seconds, Vec::new());
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if left >= seconds {
            parts.push(format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    match (left, span.nanos) {
        (0, 0) if !parts.is_empty() => {}
        (seconds, 0) => parts.push(format!("{seconds}s")),
        (seconds, nanos) => parts.push(format!("{}s", format!("{seconds}.{nanos:09}").trim_end_matches('0'))),
    }
    parts.join(" ")
}

const UNIX_EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Parses a time in RFC 3339, such as `2027-01-31T12:00:00Z`.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let malformed = || "write a time in RFC 3339 with its offset, such as 2027-01-31T12:00:00Z".to_owned();
    // Not with jiff's timestamp, which ends a day before the year 9999 does.
    let pieces = Pieces::parse(text).map_err(|_| malformed())?;
    let (time, offset) = pieces.time().zip(pieces.to_numeric_offset()).ok_or_else(malformed)?;
    let local = pieces.date().to_datetime(time).duration_since(UNIX_EPOCH);
    let since = local - SignedDuration::from_secs(offset.seconds().into());
    // Before 1970, jiff's nanoseconds are negative, and protobuf's never are.
    Ok(Timestamp {
        seconds: since.as_secs(),
        nanos: since.subsec_nanos(),
    }
    .normalized())
}

/// Parses a label, `key=value`. The value may be empty, and may contain equal signs.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write a label as key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_days_of_24_hours() {
        let seconds = |text| duration(text).map(|span| (span.seconds, span.nanos));
        assert_eq!(seconds("30d"), Ok((30 * 86_400, 0)));
        assert_eq!(seconds("2w"), Ok((14 * 86_400, 0)));
        assert_eq!(seconds("12h"), Ok((43_200, 0)));
        assert_eq!(seconds("90m"), Ok((5_400, 0)));
        assert_eq!(seconds("1h 30m"), Ok((5_400, 0)));
        assert_eq!(seconds("45s"), Ok((45, 0)));
        assert_eq!(seconds("1.5s"), Ok((1, 500_000_000)));
        // The service rejects zero.
        assert_eq!(seconds("0s"), Ok((0, 0)));
        for bad in [
            "",
            "30",
            "d",
            "30x",
            "-1d",
            "1d ago",
            "1mo",
            "1y",
            "1 month",
            "99999999999999d",
            "P30D",
            " ",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_formatted_as_they_are_read() {
        for (seconds, nanos, text) in [
            (0, 0, "0s"),
            (45, 0, "45s"),
            (86_400, 0, "1d"),
            (129_600, 0, "1d 12h"),
            (5_400, 0, "1h 30m"),
            (1, 500_000_000, "1.5s"),
            (60, 1_000, "1m 0.000001s"),
        ] {
            let span = Duration { seconds, nanos };
            assert_eq!(format_duration(&span), text);
            assert_eq!(duration(text), Ok(span));
        }
    }

    #[test]
    fn times_have_an_offset() {
        let whole = Timestamp {
            seconds: 1_801_396_800,
            nanos: 0,
        };
        assert_eq!(time("2027-01-31T12:00:00Z"), Ok(whole));
        assert_eq!(time("2027-01-31T14:00:00+02:00"), Ok(whole));
        assert_eq!(
            time("2027-01-31T12:00:00.25Z"),
            Ok(Timestamp {
                nanos: 250_000_000,
                ..whole
            })
        );
        assert_eq!(
            time("1969-12-31T23:59:59.75Z"),
            Ok(Timestamp {
                seconds: -1,
                nanos: 750_000_000
            })
        );
        assert_eq!(
            time("9999-12-31T23:59:59Z"),
            Ok(Timestamp {
                seconds: 253_402_300_799,
                nanos: 0
            })
        );
        for bad in [
            "",
            "2027-01-31",
            "2027-01-31Z",
            "12:00:00Z",
            "2027-01-31T12:00:00",
            "tomorrow",
            "2027-02-30T00:00:00Z",
            "1801396800",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_split_at_the_first_equal_sign() {
        let read = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("team=build"), read("team", "build"));
        assert_eq!(label("team="), read("team", ""));
        assert_eq!(label("query=a=b"), read("query", "a=b"));
        for bad in ["", "team", "=build"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}

//! Reports of leaked secrets: where a secret was found, and what it turned out to be.

use crate::{
    credential::without_secrets,
    name::{CallerKeyName, TokenName},
    text::{Reason, Text},
};

/// The address where a secret was found. May be empty.
pub type LeakUrl = Text<0, 2_048, false>;
/// Who found it, or what kind of place it was found in. May be empty.
pub type LeakSource = Text<0, 100, false>;

/// The most reports of one secret that its audit event lists.
const MAX_LISTED: usize = 10;

/// Where and by whom a secret was found. Credentials in these texts are cut to their public part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakReport {
    url: String,
    source: String,
}

/// What a reported credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeakFinding {
    /// This installation did not mint it.
    Foreign,
    /// A workspace access token, in any state. No name if the token was purged.
    Token(Option<TokenName>),
    /// A caller key, in any state. No name if the key is no longer stored.
    CallerKey(Option<CallerKeyName>),
}

impl LeakReport {
    /// Creates a report, without the secrets in its texts.
    #[must_use]
    pub fn new(url: &LeakUrl, source: &LeakSource) -> Self {
        Self {
            url: without_secrets(url.as_str()).into_owned(),
            source: without_secrets(source.as_str()).into_owned(),
        }
    }

    /// Returns the reason to revoke the reported token: the source and the address, cut to the length of a reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.words().as_str() {
            "" => Reason::cut("leaked"),
            words => Reason::cut(&format!("leaked: {words}")),
        }
    }

    /// Returns the detail of the audit event about a reported secret: each distinct report in full, up to a maximum
    /// number.
    #[must_use]
    pub fn detail(reports: &[Self]) -> String {
        let mut distinct: Vec<&Self> = Vec::new();
        for report in reports {
            if !distinct.contains(&report) {
                distinct.push(report);
            }
        }
        let more = distinct.len().saturating_sub(MAX_LISTED);
        let words = distinct
            .iter()
            .take(MAX_LISTED)
            .map(|report| report.words())
            .filter(|words| !words.is_empty());
        let words = words.collect::<Vec<_>>().join("; ");
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        if words.is_empty() {
            "reported as leaked".to_owned()
        } else {
            format!("reported as leaked: {words}{more}")
        }
    }

    fn words(&self) -> String {
        match (self.source.as_str(), self.url.as_str()) {
            ("", "") => String::new(),
            (source, "") => format!("source {source}"),
            ("", url) => format!("at {url}"),
            (source, url) => format!("source {source}, at {url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(url: &str, source: &str) -> LeakReport {
        let url = LeakUrl::new(url.to_owned()).expect("it fits");
        LeakReport::new(&url, &LeakSource::new(source.to_owned()).expect("it fits"))
    }

    #[test]
    fn a_reason_names_source_and_address_and_fits() {
        for (url, source, reason) in [
            ("", "", "leaked"),
            ("", "gist", "leaked: source gist"),
            ("https://example.com/a", "", "leaked: at https://example.com/a"),
            (
                "https://example.com/a",
                "gist",
                "leaked: source gist, at https://example.com/a",
            ),
        ] {
            assert_eq!(report(url, source).reason().as_str(), reason);
        }
        let longest = report(&"ü".repeat(2_048), &"s".repeat(100));
        assert_eq!(longest.reason().as_str().chars().count(), 500);
        assert!(
            LeakReport::detail(&[longest]).contains(&"ü".repeat(2_048)),
            "the record has all of it"
        );
    }

    #[test]
    fn no_secret_comes_in_by_an_address() {
        let (id, secret) = ("0".repeat(18), "s".repeat(50));
        let leaked = report(
            &format!("https://example.com/?token=tkdw_{id}_{secret}&page=2"),
            &format!("tkdc_{id}_{secret}"),
        );
        for text in [
            leaked.reason().to_string(),
            LeakReport::detail(std::slice::from_ref(&leaked)),
        ] {
            assert!(!text.contains("sss"), "{text}");
            assert!(
                text.contains(&format!("https://example.com/?token=tkdw_{id}_...&page=2")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_detail_lists_each_report_once() {
        let (a, b) = (report("https://a", "x"), report("https://b", ""));
        let detail = LeakReport::detail(&[a.clone(), b.clone(), a]);
        assert_eq!(detail, "reported as leaked: source x, at https://a; at https://b");
        assert_eq!(LeakReport::detail(&[report("", "")]), "reported as leaked");
        let many: Vec<_> = (0..12).map(|number| report(&format!("https://{number}"), "")).collect();
        assert!(LeakReport::detail(&many).ends_with("; at https://9; and 2 more"));
    }
}

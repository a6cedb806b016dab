//! Secrets that somebody found where they do not belong: what is said about where, and what they turned out to be.

use crate::{
    credential::without_secrets,
    name::{CallerKeyName, TokenName},
    text::{Reason, Text},
};

/// Where a secret was found. May be empty.
pub type LeakUrl = Text<0, 2_048, false>;
/// Who found it, or in what kind of thing. May be empty.
pub type LeakSource = Text<0, 100, false>;

/// Most reports of one secret that its record tells.
const TOLD: usize = 10;

/// Where and by whom a secret was found. Holds no credential: the secret part of one in them is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakReport {
    url: String,
    source: String,
}

/// What a credential in a reported string is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeakFinding {
    /// Nothing that this installation minted.
    Foreign,
    /// A workspace access token, alive or not; without a name if it is no longer kept.
    Token(Option<TokenName>),
    /// A caller key, likewise.
    CallerKey(Option<CallerKeyName>),
}

impl LeakReport {
    /// Takes what a report says.
    #[must_use]
    pub fn new(url: &LeakUrl, source: &LeakSource) -> Self {
        Self { url: without_secrets(url.as_str()).into_owned(), source: without_secrets(source.as_str()).into_owned() }
    }

    /// Why a token that was reported so is revoked: names the source and the address, cut to what a reason may hold.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.words().as_str() {
            "" => Reason::cut("leaked"),
            words => Reason::cut(&format!("leaked: {words}")),
        }
    }

    /// What the record of a secret that was reported so says: each report once and in full, of very many the first.
    #[must_use]
    pub fn detail(reports: &[Self]) -> String {
        let mut told: Vec<&Self> = Vec::new();
        for report in reports {
            if !told.contains(&report) {
                told.push(report);
            }
        }
        let more = told.len().saturating_sub(TOLD);
        let words = told.iter().take(TOLD).map(|report| report.words()).filter(|words| !words.is_empty());
        let words = words.collect::<Vec<_>>().join("; ");
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        if words.is_empty() { "reported as leaked".to_owned() } else { format!("reported as leaked: {words}{more}") }
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
            ("https://example.com/a", "gist", "leaked: source gist, at https://example.com/a"),
        ] {
            assert_eq!(report(url, source).reason().as_str(), reason);
        }
        let longest = report(&"ü".repeat(2_048), &"s".repeat(100));
        assert_eq!(longest.reason().as_str().chars().count(), 500);
        assert!(LeakReport::detail(&[longest]).contains(&"ü".repeat(2_048)), "the record has all of it");
    }

    #[test]
    fn no_secret_comes_in_by_an_address() {
        let (id, secret) = ("0".repeat(18), "s".repeat(50));
        let leaked = report(&format!("https://example.com/?token=tkdw_{id}_{secret}&page=2"), &format!("tkdc_{id}_{secret}"));
        for told in [leaked.reason().to_string(), LeakReport::detail(std::slice::from_ref(&leaked))] {
            assert!(!told.contains("sss"), "{told}");
            assert!(told.contains(&format!("https://example.com/?token=tkdw_{id}_...&page=2")), "{told}");
        }
    }

    #[test]
    fn a_detail_tells_each_report_once() {
        let (a, b) = (report("https://a", "x"), report("https://b", ""));
        let detail = LeakReport::detail(&[a.clone(), b.clone(), a]);
        assert_eq!(detail, "reported as leaked: source x, at https://a; at https://b");
        assert_eq!(LeakReport::detail(&[report("", "")]), "reported as leaked");
        let many: Vec<_> = (0..12).map(|number| report(&format!("https://{number}"), "")).collect();
        assert!(LeakReport::detail(&many).ends_with("; at https://9; and 2 more"));
    }
}

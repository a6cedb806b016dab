use std::{collections::BTreeSet, io, iter::Peekable};

use prost::Message;
use serde::Serialize;
use tokend_client::{
    Authenticated,
    v1::{
        RevokeLeakedTokensRequest,
        revoke_leaked_tokens_request::Leak,
        revoke_leaked_tokens_response::{Kind, Label, Result as Finding},
        token_admin_client::TokenAdminClient,
    },
};

use crate::{
    client::{
        connection::Connection,
        output::{Output, word},
        patience::call_patiently,
        secret::{self, Line},
    },
    failure::Failure,
    progress::Progress,
    terminal::{View, note},
};

/// Most strings in a call, as the contract has it.
const STRINGS_IN_A_CALL: usize = 1_000;
/// Most bytes of them with what is said of them, so that a call stays below the 1 MiB that the service takes.
const BYTES_IN_A_CALL: usize = 900 * 1024;

/// Revokes the tokens in a text on stdin: a list of tokens, a log, a dump in whatever encoding. Secrets are never taken from arguments.
///
/// Shows, with the number of its line, whether a credential is one of this installation, and which; never its secret. Tokens are revoked
/// then, whether or not they were before. Caller keys still work. A line without a credential is shown as a false positive. Exit code 0: a
/// token or caller key was found; 1: none was, or not all lines were looked at, and the same command can be repeated.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who found them, or in what kind of thing, such as github-secret-scanning; on record with each token
    #[arg(long)]
    source: String,
    /// Where they were found; on record with each token
    #[arg(long)]
    url: String,
    /// Don't wait until the tokens are dead in every replica and cache
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What was found in all lines.
#[derive(Default, Serialize)]
struct Findings {
    results: Vec<Found>,
    /// The last line that was read, empty ones aside.
    #[serde(skip)]
    last_line: u64,
}

/// What a credential in a line is, or a line without one, under the contract's names.
#[derive(Clone, Serialize)]
struct Found {
    line: u64,
    label: &'static str,
    kind: &'static str,
    token: String,
    caller_key: String,
}

/// Reports the strings, and shows what is known of them even if not all could be looked at.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { source, url, no_wait, output, connection } = args;
    let mut tokens = connection.open().await?.token_admin();
    let mut findings = Findings::default();
    let leaks = secret::lines_from_stdin().flat_map(|line| leaks_of(line, &url, &source));
    let outcome = report(&mut tokens, leaks, no_wait, &mut findings).await;
    if outcome.is_ok() || !findings.results.is_empty() {
        let shown = output.print_value(&findings.view(), &findings);
        shown.map_err(|failure| failure.after("the tokens among the strings are revoked"))?;
        findings.note_counts();
    }
    outcome?;
    if findings.results.iter().any(Found::is_ours) {
        return Ok(());
    }
    Err(Failure::Other("no token or caller key of this installation was found".to_owned()))
}

/// The credentials of a line, each as a string of its own: a string has one result. A line without one goes as it is, for the service to
/// judge.
fn leaks_of(line: io::Result<Line>, url: &str, source: &str) -> Vec<io::Result<(u64, Leak)>> {
    let Line { number, credentials, start } = match line {
        Ok(line) => line,
        Err(error) => return vec![Err(error)],
    };
    let leak = |secret: String| Ok((number, Leak { secret, url: url.to_owned(), source: source.to_owned() }));
    if credentials.is_empty() {
        return vec![leak(start)];
    }
    credentials.iter().map(|credential| leak(credential.expose().to_owned())).collect()
}

async fn report(
    tokens: &mut TokenAdminClient<Authenticated>,
    leaks: impl Iterator<Item = io::Result<(u64, Leak)>>,
    no_wait: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (mut leaks, mut progress) = (leaks.peekable(), Progress::on_stderr());
    loop {
        let (lines, leaks) = next_call(&mut leaks).map_err(|error| Failure::Other(format!("can't read from stdin: {error}")))?;
        let Some((first, last)) = lines.first().zip(lines.last()) else { return Ok(()) };
        if !findings.results.is_empty() {
            progress.tell(&format!("{} strings looked at so far", findings.results.len()));
        }
        let request = RevokeLeakedTokensRequest { leaks, no_wait };
        let on_failure = |failure: &tokend_client::Failure| progress.tell(&format!("Trying again after: {failure}"));
        let call = async || tokens.revoke_leaked_tokens(request.clone()).await;
        let answer = call_patiently(call, on_failure).await.inspect_err(|_| {
            note(&format!("Lines {first} to {last} and those behind them are not known to be dealt with. Repeating is safe."));
        })?;
        findings.last_line = *last;
        let found = lines.into_iter().zip(answer.results);
        findings.results.extend(found.flat_map(|(line, finding)| Found::all_of(line, finding)));
    }
}

/// Takes as many strings as fit into a call, with the numbers of their lines. An error waits for those before it.
fn next_call(leaks: &mut Peekable<impl Iterator<Item = io::Result<(u64, Leak)>>>) -> io::Result<(Vec<u64>, Vec<Leak>)> {
    let (mut lines, mut taken, mut bytes) = (Vec::new(), Vec::<Leak>::new(), 0);
    while let Some(leak) = leaks.next_if(|next| match next {
        Ok((_, leak)) => taken.len() < STRINGS_IN_A_CALL && (taken.is_empty() || bytes + leak.encoded_len() <= BYTES_IN_A_CALL),
        Err(_) => taken.is_empty(),
    }) {
        let (line, leak) = leak?;
        bytes += leak.encoded_len();
        lines.push(line);
        taken.push(leak);
    }
    Ok((lines, taken))
}

impl Findings {
    fn view(&self) -> View {
        let row = |found: &Found| {
            let Found { line, label, kind, token, caller_key } = found;
            vec![line.to_string(), word(label, "LABEL_"), kind_in_words(kind), format!("{token}{caller_key}")]
        };
        View::List {
            header: &["LINE", "LABEL", "KIND", "NAME"],
            rows: self.results.iter().map(row).collect(),
            none: "There are no strings on stdin.",
        }
    }

    /// Prints how much was read and found. Caller keys still work, other than the tokens.
    fn note_counts(&self) {
        let [tokens, caller_keys] = [Kind::WorkspaceToken, Kind::CallerKey].map(|kind| self.count(kind));
        note(&format!("Lines read: {}. Tokens found: {tokens}. Caller keys found: {caller_keys}.", self.last_line));
        if caller_keys > 0 {
            note(&format!(
                "Caller keys among them: {caller_keys}. They are on record and still work: `tokend caller key revoke NAME`"
            ));
        }
    }

    /// How many credentials of that kind there are: each once, as far as they have names.
    fn count(&self, kind: Kind) -> usize {
        let of_kind = || self.results.iter().filter(|found| found.kind == kind.as_str_name());
        let names: BTreeSet<_> = of_kind().map(Found::name).filter(|name| !name.is_empty()).collect();
        names.len() + of_kind().filter(|found| found.name().is_empty()).count()
    }
}

impl Found {
    /// What a result says, the first and those beside it.
    fn all_of(line: u64, finding: Finding) -> Vec<Self> {
        let (label, kind) = (finding.label().as_str_name(), finding.kind().as_str_name());
        let Finding { label: _, token, kind: _, caller_key, others } = finding;
        let first = Self { line, label, kind, token, caller_key };
        let others = others.into_iter().flat_map(|other| Self::all_of(line, other));
        std::iter::once(first).chain(others).collect()
    }

    fn is_ours(&self) -> bool {
        self.label == Label::TruePositive.as_str_name()
    }

    fn name(&self) -> &str {
        if self.token.is_empty() { &self.caller_key } else { &self.token }
    }
}

fn kind_in_words(kind: &'static str) -> String {
    if kind == Kind::Unspecified.as_str_name() { String::new() } else { word(kind, "KIND_") }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn leaks(count: u64, url_bytes: usize) -> impl Iterator<Item = io::Result<(u64, Leak)>> {
        let url = "u".repeat(url_bytes);
        (1..=count).map(move |line| Ok((line, Leak { secret: line.to_string(), url: url.clone(), source: String::new() })))
    }

    /// How many strings each call has.
    fn calls(leaks: impl Iterator<Item = io::Result<(u64, Leak)>>) -> Vec<usize> {
        let mut leaks = leaks.peekable();
        let mut last = 0;
        iter::from_fn(|| {
            let (lines, taken) = next_call(&mut leaks).expect("read");
            for (line, leak) in lines.iter().zip(&taken) {
                assert_eq!((*line, leak.secret.clone()), (last + 1, (last + 1).to_string()), "in order, none left out");
                last = *line;
            }
            let request = RevokeLeakedTokensRequest { leaks: taken, no_wait: false };
            assert!(request.encoded_len() <= 1024 * 1024, "{}", request.encoded_len());
            Some(lines.len()).filter(|&count| count > 0)
        })
        .collect()
    }

    #[test]
    fn a_call_has_as_many_strings_as_the_service_takes() {
        assert_eq!(calls(leaks(0, 20)), Vec::<usize>::new());
        assert_eq!(calls(leaks(2_500, 20)), [1_000, 1_000, 500]);
        let long = calls(leaks(1_000, 2_048));
        assert!(long.len() > 1 && long.iter().sum::<usize>() == 1_000, "{long:?}");
        assert_eq!(calls(leaks(2, BYTES_IN_A_CALL - 100)), [1, 1], "one goes, whatever its size");
    }

    #[test]
    fn what_was_read_before_an_error_is_reported_first() {
        let broken = leaks(3, 20).chain(iter::once(Err(io::Error::other("broken"))));
        let mut leaks = broken.peekable();
        assert_eq!(next_call(&mut leaks).expect("read").0, [1, 2, 3]);
        assert!(next_call(&mut leaks).is_err());
    }

    #[test]
    fn a_line_is_told_by_its_number() {
        let finding = |label: Label, kind: Kind, token: &str, caller_key: &str| Finding {
            label: label.into(),
            token: token.to_owned(),
            kind: kind.into(),
            caller_key: caller_key.to_owned(),
            others: Vec::new(),
        };
        let several = Finding {
            others: vec![finding(Label::TruePositive, Kind::WorkspaceToken, "workspaces/acme/tokens/z", "")],
            ..finding(Label::TruePositive, Kind::CallerKey, "", "callers/gate/keys/y")
        };
        let findings = Findings {
            results: [
                Found::all_of(1, finding(Label::TruePositive, Kind::WorkspaceToken, "workspaces/acme/tokens/x", "")),
                Found::all_of(3, finding(Label::FalsePositive, Kind::Unspecified, "", "")),
                Found::all_of(12, several),
                Found::all_of(13, finding(Label::TruePositive, Kind::WorkspaceToken, "workspaces/acme/tokens/x", "")),
                Found::all_of(14, finding(Label::TruePositive, Kind::WorkspaceToken, "", "")),
            ]
            .concat(),
            last_line: 14,
        };
        assert_eq!((findings.count(Kind::WorkspaceToken), findings.count(Kind::CallerKey)), (3, 1), "x, z and one without a name");
        assert_eq!(
            findings.view().lines(),
            "LINE  LABEL           KIND             NAME\n\
             1     TRUE_POSITIVE   WORKSPACE_TOKEN  workspaces/acme/tokens/x\n\
             3     FALSE_POSITIVE\n\
             12    TRUE_POSITIVE   CALLER_KEY       callers/gate/keys/y\n\
             12    TRUE_POSITIVE   WORKSPACE_TOKEN  workspaces/acme/tokens/z\n\
             13    TRUE_POSITIVE   WORKSPACE_TOKEN  workspaces/acme/tokens/x\n\
             14    TRUE_POSITIVE   WORKSPACE_TOKEN\n"
        );
    }
}

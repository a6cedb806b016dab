//! `tokend token report-leaks`.

use std::{collections::BTreeSet, io, iter::Peekable};

use prost::Message;
use serde::Serialize;
use tokend_client::{
    Authenticated, CallError,
    v1::{
        RevokeLeakedTokensRequest,
        revoke_leaked_tokens_request::Leak,
        revoke_leaked_tokens_response::{Kind, Label, Result as LeakResult},
        token_admin_client::TokenAdminClient,
    },
};

use crate::{
    client::{
        connection::Connection,
        output::{Output, word},
        retry::call_with_retries,
        secret::{self, Line},
        single::NoWait,
    },
    command_error::CommandError,
    progress::Progress,
    terminal::{Field, View, note},
};

/// The most strings that the contract allows in a call.
const MAX_STRINGS: usize = 1_000;
/// The most bytes of leaks in a call, which keeps it below the 1 MiB that the service accepts.
const MAX_BYTES: usize = 900 * 1024;

/// Finds tokens in the text on stdin and revokes them. The text can be a list of tokens, a log, or a dump in any
/// encoding.
///
/// Prints the line number and the name of each token and caller key of this installation, never the secret. Afterwards,
/// all these tokens are revoked. Caller keys are not revoked. A line without a token or key is a false positive. Exit
/// code 0: a token or caller key was found. Exit code 1: none was found, or not all lines were processed; then run the
/// command again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who found the leak, such as github-secret-scanning. It is stored in the audit log with each token
    #[arg(long)]
    source: String,
    /// Where the leak was found. It is stored in the audit log with each token
    #[arg(long)]
    url: String,
    #[command(flatten)]
    no_wait: NoWait,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// The findings of all lines.
#[derive(Default, Serialize)]
struct Findings {
    results: Vec<Finding>,
    /// The number of the last line that was read, not counting empty lines at the end.
    #[serde(skip)]
    last_line: u64,
}

/// The finding about a credential, or about a line without one. Its JSON has the field names of the contract.
#[derive(Clone, Serialize)]
struct Finding {
    line: u64,
    label: &'static str,
    kind: &'static str,
    token: String,
    caller_key: String,
}

/// Runs the command. Prints the findings even if not all lines could be processed.
pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let Args {
        source,
        url,
        no_wait: NoWait { no_wait },
        output,
        connection,
    } = args;
    let mut tokens = connection.open().await?.token_admin();
    let mut findings = Findings::default();
    let leaks = secret::lines_from_stdin().flat_map(|line| leaks_of(line, &url, &source));
    let outcome = report(&mut tokens, leaks, no_wait, &mut findings).await;
    if outcome.is_ok() || !findings.results.is_empty() {
        let shown = output.print_value(&findings.view(), &findings);
        shown.map_err(|error| error.after_change("the tokens among the strings are revoked"))?;
        findings.note_counts();
    }
    outcome?;
    if findings.results.iter().any(Finding::is_ours) {
        return Ok(());
    }
    Err(CommandError::Other(
        "no token or caller key of this installation was found".to_owned(),
    ))
}

/// Returns each credential of a line as a separate leak, since a leak has one result. A line without a credential is a
/// leak as a whole: the service decides.
fn leaks_of(line: io::Result<Line>, url: &str, source: &str) -> Vec<io::Result<(u64, Leak)>> {
    let Line {
        number,
        credentials,
        start,
    } = match line {
        Ok(line) => line,
        Err(error) => return vec![Err(error)],
    };
    let leak = |secret: String| {
        Ok((
            number,
            Leak {
                secret,
                url: url.to_owned(),
                source: source.to_owned(),
            },
        ))
    };
    if credentials.is_empty() {
        return vec![leak(start)];
    }
    credentials
        .iter()
        .map(|credential| leak(credential.expose().to_owned()))
        .collect()
}

async fn report(
    tokens: &mut TokenAdminClient<Authenticated>,
    leaks: impl Iterator<Item = io::Result<(u64, Leak)>>,
    no_wait: bool,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let (mut leaks, mut progress) = (leaks.peekable(), Progress::on_stderr());
    loop {
        let (lines, leaks) =
            next_call(&mut leaks).map_err(|error| CommandError::Other(format!("can't read from stdin: {error}")))?;
        let Some((first, last)) = lines.first().zip(lines.last()) else {
            return Ok(());
        };
        if !findings.results.is_empty() {
            progress.show(&format!("{} strings checked so far", findings.results.len()));
        }
        let request = RevokeLeakedTokensRequest { leaks, no_wait };
        let on_retry = |error: &CallError| progress.show(&format!("Retrying after an error: {error}"));
        let call = async || tokens.revoke_leaked_tokens(request.clone()).await;
        let answer = call_with_retries(call, on_retry).await.inspect_err(|_| {
            note(&format!(
                "Lines from {first} on may not have been processed. It is safe to run the command again."
            ));
        })?;
        findings.last_line = *last;
        let found = lines.into_iter().zip(answer.results);
        findings
            .results
            .extend(found.flat_map(|(line, result)| Finding::all_of(line, result)));
    }
}

/// Takes as many leaks as fit into a call, with the numbers of their lines. A read error is returned after the leaks
/// before it.
fn next_call(leaks: &mut Peekable<impl Iterator<Item = io::Result<(u64, Leak)>>>) -> io::Result<(Vec<u64>, Vec<Leak>)> {
    let (mut lines, mut taken, mut bytes) = (Vec::new(), Vec::<Leak>::new(), 0);
    while let Some(leak) = leaks.next_if(|next| match next {
        Ok((_, leak)) => taken.len() < MAX_STRINGS && (taken.is_empty() || bytes + leak.encoded_len() <= MAX_BYTES),
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
        const COLUMNS: &[Field<Finding>] = &[
            ("LINE", |finding| finding.line.to_string()),
            ("LABEL", |finding| word(finding.label, "LABEL_")),
            ("KIND", |finding| kind_in_words(finding.kind)),
            ("NAME", |finding| finding.name().to_owned()),
        ];
        View::list(&self.results, COLUMNS, "There are no strings on stdin.")
    }

    /// Prints how much was read and found.
    fn note_counts(&self) {
        let [tokens, caller_keys] = [Kind::WorkspaceToken, Kind::CallerKey].map(|kind| self.count(kind));
        note(&format!(
            "Lines read: {}. Tokens found: {tokens}. Caller keys found: {caller_keys}.",
            self.last_line
        ));
        if caller_keys > 0 {
            note("Caller keys are not revoked automatically. Revoke each with `tokend caller key revoke NAME`.");
        }
    }

    /// Counts the credentials of a kind. Those with the same name count once.
    fn count(&self, kind: Kind) -> usize {
        let of_kind = || self.results.iter().filter(|finding| finding.kind == kind.as_str_name());
        let names: BTreeSet<_> = of_kind().map(Finding::name).filter(|name| !name.is_empty()).collect();
        names.len() + of_kind().filter(|finding| finding.name().is_empty()).count()
    }
}

impl Finding {
    /// Converts a result, and the further results that it contains.
    fn all_of(line: u64, result: LeakResult) -> Vec<Self> {
        let (label, kind) = (result.label().as_str_name(), result.kind().as_str_name());
        let LeakResult {
            label: _,
            token,
            kind: _,
            caller_key,
            others,
        } = result;
        let first = Self {
            line,
            label,
            kind,
            token,
            caller_key,
        };
        let others = others.into_iter().flat_map(|other| Self::all_of(line, other));
        std::iter::once(first).chain(others).collect()
    }

    fn is_ours(&self) -> bool {
        self.label == Label::TruePositive.as_str_name()
    }

    fn name(&self) -> &str {
        if self.token.is_empty() {
            &self.caller_key
        } else {
            &self.token
        }
    }
}

fn kind_in_words(kind: &'static str) -> String {
    if kind == Kind::Unspecified.as_str_name() {
        String::new()
    } else {
        word(kind, "KIND_")
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn leaks(count: u64, url_bytes: usize) -> impl Iterator<Item = io::Result<(u64, Leak)>> {
        let url = "u".repeat(url_bytes);
        (1..=count).map(move |line| {
            Ok((
                line,
                Leak {
                    secret: line.to_string(),
                    url: url.clone(),
                    source: String::new(),
                },
            ))
        })
    }

    /// Returns how many strings each call has.
    fn calls(leaks: impl Iterator<Item = io::Result<(u64, Leak)>>) -> Vec<usize> {
        let mut leaks = leaks.peekable();
        let mut last = 0;
        iter::from_fn(|| {
            let (lines, taken) = next_call(&mut leaks).expect("read");
            for (line, leak) in lines.iter().zip(&taken) {
                assert_eq!(
                    (*line, leak.secret.clone()),
                    (last + 1, (last + 1).to_string()),
                    "in order, none left out"
                );
                last = *line;
            }
            let request = RevokeLeakedTokensRequest {
                leaks: taken,
                no_wait: false,
            };
            assert!(request.encoded_len() <= 1024 * 1024, "{}", request.encoded_len());
            Some(lines.len()).filter(|&count| count > 0)
        })
        .collect()
    }

    #[test]
    fn a_call_has_as_many_strings_as_the_service_accepts() {
        assert_eq!(calls(leaks(0, 20)), Vec::<usize>::new());
        assert_eq!(calls(leaks(2_500, 20)), [1_000, 1_000, 500]);
        let long = calls(leaks(1_000, 2_048));
        assert!(long.len() > 1 && long.iter().sum::<usize>() == 1_000, "{long:?}");
        assert_eq!(calls(leaks(2, MAX_BYTES - 100)), [1, 1], "one goes, whatever its size");
    }

    #[test]
    fn what_was_read_before_an_error_is_reported_first() {
        let broken = leaks(3, 20).chain(iter::once(Err(io::Error::other("broken"))));
        let mut leaks = broken.peekable();
        assert_eq!(next_call(&mut leaks).expect("read").0, [1, 2, 3]);
        assert!(next_call(&mut leaks).is_err());
    }

    #[test]
    fn findings_have_line_numbers() {
        let finding = |label: Label, kind: Kind, token: &str, caller_key: &str| LeakResult {
            label: label.into(),
            token: token.to_owned(),
            kind: kind.into(),
            caller_key: caller_key.to_owned(),
            others: Vec::new(),
        };
        let several = LeakResult {
            others: vec![finding(
                Label::TruePositive,
                Kind::WorkspaceToken,
                "workspaces/acme/tokens/z",
                "",
            )],
            ..finding(Label::TruePositive, Kind::CallerKey, "", "callers/gate/keys/y")
        };
        let findings = Findings {
            results: [
                Finding::all_of(
                    1,
                    finding(
                        Label::TruePositive,
                        Kind::WorkspaceToken,
                        "workspaces/acme/tokens/x",
                        "",
                    ),
                ),
                Finding::all_of(3, finding(Label::FalsePositive, Kind::Unspecified, "", "")),
                Finding::all_of(12, several),
                Finding::all_of(
                    13,
                    finding(
                        Label::TruePositive,
                        Kind::WorkspaceToken,
                        "workspaces/acme/tokens/x",
                        "",
                    ),
                ),
                Finding::all_of(14, finding(Label::TruePositive, Kind::WorkspaceToken, "", "")),
            ]
            .concat(),
            last_line: 14,
        };
        assert_eq!(
            (findings.count(Kind::WorkspaceToken), findings.count(Kind::CallerKey)),
            (3, 1),
            "x, z and one without a name"
        );
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

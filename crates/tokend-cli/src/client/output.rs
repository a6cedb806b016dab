//! Output of responses on stdout: a table for people, or the response as JSON.

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Timestamp;
use serde::Serialize;
use serde_json::Serializer;

use crate::command_error::CommandError;
use crate::stdout::print;
use crate::terminal::{View, note, printable_json};

/// A message of the contract that a command can print.
pub(super) trait Answer: Message {
    /// The full name of the message, such as `tokend.v1.GetTokenResponse`.
    const MESSAGE: &'static str;

    /// Returns the message as people see it.
    fn view(&self) -> View;
}

/// Implements [`Answer`] for messages of the contract: `Message(value) => view`.
macro_rules! answers {
    ($($message:ident($value:ident) => $view:expr),+ $(,)?) => {
        $(impl $crate::client::output::Answer for tokend_client::v1::$message {
            const MESSAGE: &'static str = concat!("tokend.v1.", stringify!($message));

            fn view(&self) -> $crate::terminal::View {
                let $value = self;
                $view
            }
        })+
    };
}
pub(super) use answers;

/// The output format that was chosen.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Output {
    /// Print a table, or JSON with the field names of the API
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Output {
    /// Prints a response.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn print<A: Answer>(self, answer: &A) -> Result<(), CommandError> {
        self.print_as(&answer.view(), answer)
    }

    /// Prints a response, with another table than its own.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn print_as<A: Answer>(self, view: &View, answer: &A) -> Result<(), CommandError> {
        match self.format {
            Format::Table => print_view(view),
            Format::Json => print(&json(answer)?),
        }
    }

    /// Prints the response to a change. If that fails, the error says what has been changed: `done`, such as
    /// "callers/gate is deleted".
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn print_done<A: Answer>(self, answer: &A, done: &str) -> Result<(), CommandError> {
        self.print(answer).map_err(|error| error.after_change(done))
    }

    /// Prints what is not a message of the contract: a table, or `value` as JSON.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(crate) fn print_value<T: Serialize>(self, view: &View, value: &T) -> Result<(), CommandError> {
        match self.format {
            Format::Table => print_view(view),
            Format::Json => {
                let json = serde_json::to_string_pretty(value).map_err(|error| not_json(error.into()))?;
                print(&(printable_json(&json) + "\n"))
            }
        }
    }

    /// Returns whether the output is a table for people.
    pub(super) const fn is_table(self) -> bool {
        matches!(self.format, Format::Table)
    }
}

/// Formats a number of tokens.
pub(super) fn tokens_in_words(count: i64) -> String {
    if count == 1 {
        "1 token".to_owned()
    } else {
        format!("{count} tokens")
    }
}

/// Says that only the first `shown` of `count` entries are shown. Empty if all are.
pub(super) fn first_shown(shown: usize, count: i64) -> String {
    if usize::try_from(count).is_ok_and(|count| count > shown) {
        format!("; the first {shown} are shown")
    } else {
        String::new()
    }
}

fn print_view(view: &View) -> Result<(), CommandError> {
    if let View::List { rows, none, .. } = view
        && rows.is_empty()
    {
        note(none);
    }
    print(&view.lines())
}

/// Removes the prefix that all values of an enum share.
pub(super) fn word(value: &'static str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_owned()
}

/// Formats a time for people: RFC 3339 in UTC, in whole seconds, or `absent` if there is none.
pub(crate) fn time(time: Option<&Timestamp>, absent: &str) -> String {
    // Without jiff, whose timestamps end a day before the year 9999 does.
    time.map_or_else(
        || absent.to_owned(),
        |&Timestamp { seconds, .. }| Timestamp { seconds, nanos: 0 }.to_string(),
    )
}

/// Formats a response in protobuf's JSON mapping, with the field names of the contract, empty fields included.
fn json<A: Answer>(answer: &A) -> Result<String, CommandError> {
    try_json(answer, false).map_err(not_json)
}

/// Formats a response as JSON in one line.
pub(super) fn json_line<A: Answer>(answer: &A) -> Result<String, CommandError> {
    try_json(answer, true).map_err(not_json)
}

/// Converts a response to a JSON value.
pub(super) fn json_value<A: Answer>(answer: &A) -> Result<serde_json::Value, CommandError> {
    serde_json::from_str(&json(answer)?).map_err(|error| not_json(error.into()))
}

fn not_json(error: Box<dyn std::error::Error>) -> CommandError {
    CommandError::Other(format!("can't format the response as JSON: {error}"))
}

fn try_json<A: Answer>(answer: &A, is_line: bool) -> Result<String, Box<dyn std::error::Error>> {
    let contract = DescriptorPool::decode(tokend_proto::FILE_DESCRIPTOR_SET)?;
    let descriptor = contract.get_message_by_name(A::MESSAGE).ok_or(A::MESSAGE)?;
    let message = DynamicMessage::decode(descriptor, answer.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut json = Vec::new();
    if is_line {
        message.serialize_with_options(&mut Serializer::new(&mut json), &options)?;
    } else {
        message.serialize_with_options(&mut Serializer::pretty(&mut json), &options)?;
    }
    json.push(b'\n');
    Ok(printable_json(&String::from_utf8(json)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokend_client::v1;

    use super::*;

    fn as_value<A: Answer>(answer: &A) -> Value {
        serde_json::from_str(&super::json(answer).expect("JSON")).expect("JSON")
    }

    /// Looking up the message fails for a name that the contract does not have.
    #[test]
    fn every_answer_is_in_the_contract() {
        fn shows<A: Answer + Default>() {
            assert!(as_value(&A::default()).is_object(), "{}", A::MESSAGE);
        }
        shows::<v1::VerifyResponse>();
        shows::<v1::GetTokenResponse>();
        shows::<v1::ListTokensResponse>();
        shows::<v1::RevokeTokenResponse>();
        shows::<v1::BatchRevokeTokensResponse>();
        shows::<v1::IdentifyTokenResponse>();
        shows::<v1::ListScopesResponse>();
        shows::<v1::CreateWorkspaceResponse>();
        shows::<v1::GetWorkspaceResponse>();
        shows::<v1::ListWorkspacesResponse>();
        shows::<v1::SuspendWorkspaceResponse>();
        shows::<v1::ResumeWorkspaceResponse>();
        shows::<v1::DeleteWorkspaceResponse>();
        shows::<v1::TokenPolicy>();
        shows::<v1::GetTokenPolicyResponse>();
        shows::<v1::UpdateTokenPolicyResponse>();
        shows::<v1::CreateOrganizationResponse>();
        shows::<v1::GetOrganizationResponse>();
        shows::<v1::ListOrganizationsResponse>();
        shows::<v1::CreateCallerResponse>();
        shows::<v1::GetCallerResponse>();
        shows::<v1::ListCallersResponse>();
        shows::<v1::DeleteCallerResponse>();
        shows::<v1::ListCallerKeysResponse>();
        shows::<v1::RevokeCallerKeyResponse>();
        shows::<v1::ListAuditEventsResponse>();
        shows::<v1::AuditEvent>();
    }

    #[test]
    fn json_has_the_names_of_the_contract_and_empty_fields() {
        let token = v1::Token {
            name: "workspaces/acme/tokens/x".to_owned(),
            display_name: "a\u{1b}b".to_owned(),
            state: v1::token::State::Active.into(),
            create_time: Some(Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let all = as_value(&v1::ListTokensResponse {
            tokens: vec![token],
            next_page_token: String::new(),
            total_size: 1,
        });
        assert_eq!(all["next_page_token"], "");
        assert_eq!(all["total_size"], "1", "64 bits are text in protobuf's JSON");
        let token = &all["tokens"][0];
        assert_eq!(token["display_name"], "a\u{1b}b");
        assert_eq!(token["state"], "STATE_ACTIVE");
        assert_eq!(token["create_time"], "1970-01-01T00:00:00Z");
        assert_eq!(token["scopes"], json!([]));
        assert_eq!(token["labels"], json!({}));
        assert_eq!(token["revoke_reason"], "");
        assert_eq!(
            token.get("expire_time"),
            None,
            "a message that is not there has no value"
        );
    }

    #[test]
    fn times_up_to_the_end_of_year_9999_are_shown() {
        assert_eq!(time(None, "never"), "never");
        let last = Timestamp {
            seconds: 253_402_300_799,
            nanos: 999_999_000,
        };
        assert_eq!(time(Some(&last), ""), "9999-12-31T23:59:59Z");
    }
}

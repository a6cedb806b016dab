//! `tokend token list`.

use prost_types::Duration;
use tokend_client::{
    Client,
    v1::{ListTokensRequest, ListTokensResponse, Token},
};
use tokend_core::time::{Clock, Timestamp};

use crate::{
    client::{list::ListArgs, names, parse},
    command_error::CommandError,
};

/// The tokens to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Tokens {
    /// The workspace whose tokens to list
    #[arg(long, value_parser = names::workspace)]
    workspace: String,
    /// List only tokens that match this filter, such as 'state = ACTIVE AND expire_time = never'
    ///
    /// Fields: state, scopes, labels.KEY, creator, create_time, expire_time, last_used_time, unused, resource.
    /// Operators: = != < <= > >= and : (has). For a resource, ":" matches the resource and everything below it.
    /// Comparisons are joined by AND and OR, and grouped by parentheses; OR binds tighter than AND.
    #[arg(long)]
    filter: Option<String>,
    /// List only active tokens that expire within this time, such as 30d, sorted by expiry
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    expiring: Option<Duration>,
}

/// Runs the command.
pub(super) async fn run(args: ListArgs<Tokens>, clock: &Clock) -> Result<(), CommandError> {
    // Read once: all pages of a list need the same filter.
    let now = clock.wall_time();
    let list = async |client: &Client, tokens: &Tokens, page_size, page_token| {
        let request = ListTokensRequest {
            parent: tokens.workspace.clone(),
            filter: tokens.filter(now),
            page_size,
            page_token,
        };
        client.token_admin().list_tokens(request).await
    };
    let sort = |tokens: &Tokens, list: &mut ListTokensResponse| {
        if tokens.expiring.is_some() {
            list.tokens.sort_by_key(expiry);
        }
    };
    args.run_and_edit(list, sort).await
}

impl Tokens {
    fn filter(&self, now: Timestamp) -> String {
        let filter = self.filter.clone();
        match &self.expiring {
            Some(span) => expiring_by(filter, end_of(span, now)),
            None => filter.unwrap_or_default(),
        }
    }
}

/// Adds the condition behind the filter, without parentheses around it: AND binds loosest, and an error message counts
/// the characters of the filter as the user typed it.
fn expiring_by(filter: Option<String>, time: Timestamp) -> String {
    let expiring = format!("state = ACTIVE AND expire_time <= {time}");
    match filter {
        Some(filter) => format!("{filter} AND {expiring}"),
        None => expiring,
    }
}

fn end_of(span: &Duration, now: Timestamp) -> Timestamp {
    now.saturating_add_micros(
        span.seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(span.nanos / 1_000)),
    )
}

/// Returns the expiry as a value that sorts by time.
fn expiry(token: &Token) -> Option<(i64, i32)> {
    token.expire_time.as_ref().map(|end| (end.seconds, end.nanos))
}

#[cfg(test)]
mod tests {
    use tokend_core::filter::{Expression, TokenFilter};

    use super::*;

    fn parts(filter: Option<&str>) -> usize {
        let span = Duration {
            seconds: 86_400,
            nanos: 500_000_000,
        };
        let text = expiring_by(filter.map(str::to_owned), end_of(&span, Timestamp::UNIX_EPOCH));
        assert!(
            text.ends_with("state = ACTIVE AND expire_time <= 1970-01-02T00:00:00.5Z"),
            "{text}"
        );
        let filter: TokenFilter = text.parse().expect("a filter");
        match filter.expression() {
            Expression::All(parts) => parts.len(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_expiry_is_added_to_the_filter() {
        assert_eq!(parts(None), 2);
        assert_eq!(parts(Some("labels.team = web")), 3);
        assert_eq!(
            parts(Some("labels.team = web OR labels.team = ops")),
            3,
            "the filter stays whole"
        );
        assert_eq!(parts(Some("labels.team = web AND resource:workspaces/acme")), 4);
    }

    #[test]
    fn a_duration_beyond_the_last_time_ends_there() {
        assert_eq!(
            end_of(
                &Duration {
                    seconds: i64::MAX,
                    nanos: 0
                },
                Timestamp::UNIX_EPOCH
            ),
            Timestamp::MAX
        );
    }
}

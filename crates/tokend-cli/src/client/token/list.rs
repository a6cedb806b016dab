use prost_types::Duration;
use tokend_client::v1::{ListTokensRequest, Token};
use tokend_core::{clock::Clock, time::Timestamp};

use crate::{
    client::{connection::Connection, names, output::Output, paging::Paging, parse},
    failure::Failure,
};

/// Which tokens to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workspace whose tokens to list
    #[arg(long, value_parser = names::workspace)]
    workspace: String,
    /// List only tokens of which this is true, such as 'state = ACTIVE AND expire_time = never'
    ///
    /// Fields: state, scopes, labels.KEY, creator, create_time, expire_time, last_used_time, unused, resource. Operators: = != < <= > >=
    /// and : (has; of a resource: at or below). AND and OR join comparisons, OR tighter than AND; parentheses group them.
    #[arg(long)]
    filter: Option<String>,
    /// List only active tokens that end within this time, such as 30d, the next to end first
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    expiring: Option<Duration>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Lists the tokens.
pub(super) async fn run(args: Args, clock: &Clock) -> Result<(), Failure> {
    let Args { workspace: parent, filter, expiring, paging, output, connection } = args;
    let filter = match &expiring {
        Some(span) => expiring_by(filter, end_of(span, clock.wall_time())),
        None => filter.unwrap_or_default(),
    };
    let mut tokens = connection.open().await?.token_admin();
    let mut list = paging
        .gather(async |page_size, page_token| {
            let (parent, filter) = (parent.clone(), filter.clone());
            tokens.list_tokens(ListTokensRequest { parent, filter, page_size, page_token }).await
        })
        .await?;
    if expiring.is_some() {
        list.tokens.sort_by_key(end);
    }
    output.print_list(&list)
}

/// Without parentheses around what was given: AND binds last, and a refusal counts the characters that somebody typed.
fn expiring_by(filter: Option<String>, time: Timestamp) -> String {
    let expiring = format!("state = ACTIVE AND expire_time <= {time}");
    match filter {
        Some(filter) => format!("{filter} AND {expiring}"),
        None => expiring,
    }
}

fn end_of(span: &Duration, now: Timestamp) -> Timestamp {
    now.saturating_add_micros(span.seconds.saturating_mul(1_000_000).saturating_add(i64::from(span.nanos / 1_000)))
}

/// Seconds and nanoseconds, in the order of time.
fn end(token: &Token) -> Option<(i64, i32)> {
    token.expire_time.as_ref().map(|end| (end.seconds, end.nanos))
}

#[cfg(test)]
mod tests {
    use tokend_core::filter::{Expression, TokenFilter};

    use super::*;

    fn parts(filter: Option<&str>) -> usize {
        let span = Duration { seconds: 86_400, nanos: 500_000_000 };
        let text = expiring_by(filter.map(str::to_owned), end_of(&span, Timestamp::UNIX_EPOCH));
        assert!(text.ends_with("state = ACTIVE AND expire_time <= 1970-01-02T00:00:00.5Z"), "{text}");
        let filter: TokenFilter = text.parse().expect("a filter");
        match filter.expression() {
            Expression::All(parts) => parts.len(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_ends_soon_is_asked_for_together_with_the_filter() {
        assert_eq!(parts(None), 2);
        assert_eq!(parts(Some("labels.team = web")), 3);
        assert_eq!(parts(Some("labels.team = web OR labels.team = ops")), 3, "the filter stays whole");
        assert_eq!(parts(Some("labels.team = web AND resource:workspaces/acme")), 4);
    }

    #[test]
    fn a_span_beyond_time_is_all_of_it() {
        assert_eq!(end_of(&Duration { seconds: i64::MAX, nanos: 0 }, Timestamp::UNIX_EPOCH), Timestamp::MAX);
    }
}

//! `tokend audit list|watch|export`: commands that read the audit log from the service.

use std::{ops::ControlFlow, process::ExitCode, time::Duration};

use clap::Subcommand;
use tokend_client::{
    CallError, Client,
    v1::{self, AuditEvent, ListAuditEventsRequest, WatchAuditEventsRequest},
};
use tonic::{Code, Response, Status};

use super::{
    connection::Connection,
    list::{ListArgs, Paging},
    names,
    output::{Output, answers, json_line, time, word},
};
use crate::{
    command_error::CommandError,
    stdout::print_part,
    terminal::{Field, View, note, printable},
};

/// The parent of events that belong to no workspace.
const INSTALLATION: &str = "-";

/// Attempts in a row to continue after a stream has ended, before the command gives up.
const ATTEMPTS: u32 = 60;
/// The pause before each attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// Commands that read the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List events, newest first
    List(ListArgs<Events>),
    /// Print events as they happen, oldest first, until Ctrl-C
    Watch(WatchArgs),
    /// Print all events, or those that match a filter, as JSON lines, oldest first
    Export(ExportArgs),
}

/// The workspace whose events are read.
#[derive(Debug, clap::Args)]
struct Parent {
    /// Read the events of this workspace. Without it, read the events of the installation, such as those about callers,
    /// their keys, created workspaces and refused calls
    #[arg(long, value_name = "WORKSPACE", value_parser = names::workspace)]
    workspace: Option<String>,
}

/// The events that are read.
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    #[command(flatten)]
    parent: Parent,
    /// Only events that match this filter, such as 'type = token.revoked AND time >= 2027-01-25T00:00:00Z'
    ///
    /// Fields: type, caller, actor, address, resource, outcome, reason, time. Operators: = != < <= > >= and : (has).
    /// For a type, ":" matches all types about that kind of resource; for an address, all addresses in a network; for a
    /// resource, the resource and everything below it. Comparisons are joined by AND and OR, and grouped by
    /// parentheses; OR binds tighter than AND. "" matches an empty field.
    #[arg(long)]
    filter: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    parent: Parent,
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    events: Events,
    #[command(flatten)]
    connection: Connection,
}

/// Where to start.
#[derive(Debug, clap::Args)]
struct Start {
    /// Start after the event with this sequence number; 0 starts with the oldest event kept
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after_sequence: i64,
}

/// Runs a command.
pub(crate) async fn run(command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::List(args) => args.run(list_events).await?,
        Command::Watch(args) => watch(args).await?,
        Command::Export(args) => export(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches a page of events, newest first.
async fn list_events(
    client: &Client,
    events: &Events,
    page_size: i32,
    page_token: String,
) -> Result<Response<v1::ListAuditEventsResponse>, Status> {
    let request = ListAuditEventsRequest {
        parent: events.parent.name(),
        filter: events.filter.clone().unwrap_or_default(),
        page_size,
        page_token,
    };
    client.audit_log().list_audit_events(request).await
}

async fn watch(args: WatchArgs) -> Result<(), CommandError> {
    let WatchArgs {
        parent,
        start: Start { after_sequence },
        output,
        connection,
    } = args;
    let client = connection.open().await?;
    let show = |event: &AuditEvent| {
        if output.is_table() {
            print_part(&line(event))
        } else {
            print_part(&json_line(event)?)
        }
    };
    follow(&client, &parent.name(), after_sequence, |_| false, show).await
}

async fn export(args: ExportArgs) -> Result<(), CommandError> {
    let ExportArgs {
        start: Start { after_sequence },
        events,
        connection,
    } = args;
    let client = connection.open().await?;
    if events.filter.is_some() {
        return export_matching(&client, &events, after_sequence).await;
    }
    // Events that arrive while the export runs are left to the next one.
    let newest = list_events(&client, &events, 1, String::new()).await?.into_inner();
    let newest = newest.events.first().map_or(0, |event| event.sequence);
    if newest <= after_sequence {
        return Ok(());
    }
    follow(
        &client,
        &events.parent.name(),
        after_sequence,
        |sequence| sequence >= newest,
        |event| print_part(&json_line(event)?),
    )
    .await
}

/// Exports the events that match a filter. A stream takes no filter, so they are listed, newest first, and reversed.
async fn export_matching(client: &Client, events: &Events, after_sequence: i64) -> Result<(), CommandError> {
    let list = Paging::ALL
        .fetch(async |page_size, page_token| list_events(client, events, page_size, page_token).await)
        .await?;
    let oldest_first = list.events.iter().rev();
    for event in oldest_first.filter(|event| event.sequence > after_sequence) {
        if print_part(&json_line(event)?)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Prints events until one `is_last`, or until the reader of stdout has gone.
///
/// A stream ends with its connection, which the service closes after some minutes, or with the server. Then a new
/// stream continues after the last event that was printed, unless [`ATTEMPTS`] in a row fail.
async fn follow(
    client: &Client,
    parent: &str,
    after_sequence: i64,
    is_last: impl Fn(i64) -> bool,
    show: impl Fn(&AuditEvent) -> Result<ControlFlow<()>, CommandError>,
) -> Result<(), CommandError> {
    let (mut last, mut attempts) = (after_sequence, 0);
    loop {
        let before = last;
        let error = match follow_one_stream(client, parent, &mut last, &is_last, &show).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(CommandError::Call(error)) if is_transient(&error) => Some(error),
            Err(error) => return Err(error),
        };
        attempts = if error.is_none() || last > before {
            1
        } else {
            attempts + 1
        };
        match error {
            Some(error) if attempts > ATTEMPTS => {
                note(&format!(
                    "The last event printed is {last}. Continue with --after-sequence {last}"
                ));
                return Err(error.into());
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Prints the events of one stream. Returns whether the command is done: the last event was printed, or the reader has
/// gone. `last` is the sequence number of the event that was printed last.
async fn follow_one_stream(
    client: &Client,
    parent: &str,
    last: &mut i64,
    is_last: impl Fn(i64) -> bool,
    show: impl Fn(&AuditEvent) -> Result<ControlFlow<()>, CommandError>,
) -> Result<bool, CommandError> {
    let request = WatchAuditEventsRequest {
        parent: parent.to_owned(),
        after_sequence: *last,
    };
    let mut events = client.audit_log().watch_audit_events(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        let Some(event) = message.event else { continue };
        let reader = show(&event)?;
        *last = event.sequence;
        if reader.is_break() || is_last(*last) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a later attempt may succeed: the service is unavailable, or the connection to it failed.
fn is_transient(error: &CallError) -> bool {
    error.code == Code::Unavailable || error.reason.is_empty()
}

impl Parent {
    fn name(&self) -> String {
        self.workspace.clone().unwrap_or_else(|| INSTALLATION.to_owned())
    }
}

const COLUMNS: &[Field<AuditEvent>] = &[
    ("SEQUENCE", |event| event.sequence.to_string()),
    ("TIME", |event| time(event.time.as_ref(), "")),
    ("TYPE", |event| event.r#type.clone()),
    ("OUTCOME", |event| word(event.outcome().as_str_name(), "OUTCOME_")),
    ("CALLER", |event| event.caller.clone()),
    ("ACTOR", |event| event.actor.clone()),
    ("ADDRESS", |event| event.address.clone()),
    ("RESOURCE", |event| event.resource.clone()),
    ("REASON", |event| event.reason.clone()),
    ("DETAIL", |event| event.detail.clone()),
];

answers! {
    ListAuditEventsResponse(answer) => View::list(&answer.events, COLUMNS, "There are no events."),
    AuditEvent(event) => View::details(Some(event), COLUMNS),
}

/// Formats an event as one line for people.
fn line(event: &AuditEvent) -> String {
    let cells: Vec<_> = COLUMNS
        .iter()
        .map(|(_, cell)| cell(event))
        .filter(|cell| !cell.is_empty())
        .collect();
    format!("{}\n", printable(&cells.join("  ")))
}

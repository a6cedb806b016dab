//! `tokend audit`: who did what. `list`, `watch` and `export` ask the service.

use std::{ops::ControlFlow, process::ExitCode, time::Duration};

use clap::Subcommand;
use tokend_client::{
    Client,
    v1::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse, WatchAuditEventsRequest},
};
use tonic::Code;

use super::{
    connection::Connection,
    names,
    output::{Answer, Output, json_line, time, word},
    paging::Paging,
};
use crate::{
    failure::Failure,
    stdout::print_part,
    terminal::{View, note, printable},
};

/// The parent of what belongs to no workspace.
const INSTALLATION: &str = "-";

/// Tries in a row to go on after a stream has ended, before it is given up.
const PATIENCE: u32 = 60;
/// The pause before each.
const PAUSE: Duration = Duration::from_secs(1);

/// What the service can tell of the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List events, newest first
    List(ListArgs),
    /// Follow events as they happen, oldest first, until Ctrl-C
    Watch(FollowArgs),
    /// Write all events on stdout, or those that a filter is true of, oldest first, a JSON object a line
    Export(ExportArgs),
}

/// Which chain.
#[derive(Debug, clap::Args)]
struct Parent {
    /// The workspace; without it, the events that belong to none: callers, keys, the making of workspaces, refused calls
    #[arg(long, value_name = "WORKSPACE", value_parser = names::workspace)]
    workspace: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    parent: Parent,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    parent: Parent,
    /// Start after this event; 0 starts with the oldest one kept
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after_sequence: i64,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    parent: Parent,
    /// Start after this event; 0 starts with the oldest one kept
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after_sequence: i64,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connection: Connection,
}

/// Which of its events.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only events of which this is true, such as 'type = token.revoked AND time >= 2027-01-25T00:00:00Z'
    ///
    /// Fields: type, caller, actor, address, resource, outcome, reason, time. Operators: = != < <= > >= and : (has; of a type: about such a
    /// thing; of an address: in that network; of a resource: at or below). AND and OR join comparisons, OR tighter than AND; parentheses
    /// group them. "" is what an event has nothing to tell of.
    #[arg(long)]
    filter: Option<String>,
}

/// Carries out a command.
pub(crate) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(args) => list(args).await,
        Command::Watch(args) => watch(args).await,
        Command::Export(args) => export(args).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ListArgs { parent, filter: Filter { filter }, paging, output, connection } = args;
    let client = connection.open().await?;
    output.print_list(&gather(&client, &paging, &parent.name(), &filter.unwrap_or_default()).await?)
}

/// Events, newest first.
async fn gather(client: &Client, paging: &Paging, parent: &str, filter: &str) -> Result<ListAuditEventsResponse, Failure> {
    let mut log = client.audit_log();
    let call = async |page_size, page_token| {
        let (parent, filter) = (parent.to_owned(), filter.to_owned());
        log.list_audit_events(ListAuditEventsRequest { parent, filter, page_size, page_token }).await
    };
    paging.gather(call).await
}

async fn watch(args: FollowArgs) -> Result<(), Failure> {
    let FollowArgs { parent, after_sequence, output, connection } = args;
    let client = connection.open().await?;
    let show = |event: &AuditEvent| if output.is_table() { print_part(&line(event)) } else { print_part(&json_line(event)?) };
    follow(&client, &parent.name(), after_sequence, |_| false, show).await
}

async fn export(args: ExportArgs) -> Result<(), Failure> {
    let ExportArgs { parent, after_sequence, filter: Filter { filter }, connection } = args;
    let (client, parent) = (connection.open().await?, parent.name());
    if let Some(filter) = filter {
        // What is told of a filter comes newest first.
        let ListAuditEventsResponse { events, next_page_token: _ } = gather(&client, &Paging::ALL, &parent, &filter).await?;
        for event in events.iter().rev().filter(|event| event.sequence > after_sequence) {
            if print_part(&json_line(event)?)?.is_break() {
                break;
            }
        }
        return Ok(());
    }
    // What comes while it is written is for the next export.
    let newest = ListAuditEventsRequest { parent: parent.clone(), page_size: 1, ..Default::default() };
    let newest = client.audit_log().list_audit_events(newest).await?.into_inner().events.first().map_or(0, |event| event.sequence);
    if newest <= after_sequence {
        return Ok(());
    }
    follow(&client, &parent, after_sequence, |sequence| sequence >= newest, |event| print_part(&json_line(event)?)).await
}

/// Shows events until one `is_last`, or nobody reads them any more. Streams end with their connection, which the service lets grow some minutes old, and with the
/// server; then it goes on after the last event, for as long as that works again within [`PATIENCE`] tries.
async fn follow(
    client: &Client,
    parent: &str,
    after_sequence: i64,
    is_last: impl Fn(i64) -> bool,
    show: impl Fn(&AuditEvent) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let (mut last, mut tries) = (after_sequence, 0);
    loop {
        let before = last;
        let failure = match follow_one_stream(client, parent, &mut last, &is_last, &show).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(Failure::Call(failure)) if passes(&failure) => Some(failure),
            Err(failure) => return Err(failure),
        };
        tries = if failure.is_none() || last > before { 1 } else { tries + 1 };
        match failure {
            Some(failure) if tries > PATIENCE => {
                note(&format!("The last event that was told is {last}: go on with --after-sequence {last}"));
                return Err(failure.into());
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Follows one stream to its end; whether the last event was told, or nobody reads them any more. `last` is the number of the one that was told last.
async fn follow_one_stream(
    client: &Client,
    parent: &str,
    last: &mut i64,
    is_last: impl Fn(i64) -> bool,
    show: impl Fn(&AuditEvent) -> Result<ControlFlow<()>, Failure>,
) -> Result<bool, Failure> {
    let request = WatchAuditEventsRequest { parent: parent.to_owned(), after_sequence: *last };
    let mut events = client.audit_log().watch_audit_events(request).await?.into_inner();
    while let Some(told) = events.message().await? {
        let Some(event) = told.event else { continue };
        let goes_on = show(&event)?;
        *last = event.sequence;
        if goes_on.is_break() || is_last(*last) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the same may succeed later: the service says so, or something between it and here has failed.
fn passes(failure: &tokend_client::Failure) -> bool {
    failure.code == Code::Unavailable || failure.reason.is_empty()
}

impl Parent {
    fn name(self) -> String {
        self.workspace.unwrap_or_else(|| INSTALLATION.to_owned())
    }
}

impl Answer for ListAuditEventsResponse {
    const MESSAGE: &'static str = "tokend.v1.ListAuditEventsResponse";

    fn view(&self) -> View {
        View::List {
            header: &["SEQUENCE", "TIME", "TYPE", "OUTCOME", "CALLER", "ACTOR", "ADDRESS", "RESOURCE", "REASON", "DETAIL"],
            rows: self.events.iter().map(|event| cells(event).into()).collect(),
            none: "There are no events.",
        }
    }
}

impl Answer for AuditEvent {
    const MESSAGE: &'static str = "tokend.v1.AuditEvent";

    fn view(&self) -> View {
        View::List { header: &[], rows: vec![cells(self).into()], none: "" }
    }
}

/// One event as a line for people.
fn line(event: &AuditEvent) -> String {
    let told: Vec<_> = cells(event).into_iter().filter(|cell| !cell.is_empty()).collect();
    format!("{}\n", printable(&told.join("  ")))
}

fn cells(event: &AuditEvent) -> [String; 10] {
    [
        event.sequence.to_string(),
        time(event.time.as_ref(), ""),
        event.r#type.clone(),
        word(event.outcome().as_str_name(), "OUTCOME_"),
        event.caller.clone(),
        event.actor.clone(),
        event.address.clone(),
        event.resource.clone(),
        event.reason.clone(),
        event.detail.clone(),
    ]
}

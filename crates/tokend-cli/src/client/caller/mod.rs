//! `tokend caller`: commands about callers, the backends that may call the service.

mod key;

use clap::{Subcommand, ValueEnum};
use tokend_client::{
    Client,
    v1::{self, Caller, CreateCallerRequest, DeleteCallerRequest, GetCallerRequest, ListCallersRequest, Selection},
};

use super::{
    connection::Connection,
    list::ListArgs,
    names::{self, CallerName},
    output::{Output, answers, time, word},
    single::{EndArgs, GetArgs},
};
use crate::{
    command_error::CommandError,
    terminal::{Field, View},
};

/// Commands about callers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a caller. It also needs a key or a client certificate before it can call
    Create(CreateArgs),
    /// Show a caller
    Get(GetArgs<CallerName>),
    /// List the callers
    List(ListArgs),
    /// Permanently delete a caller and its keys. Tokens that it created keep working
    Delete(EndArgs<CallerName>),
    /// Create, list and revoke the keys that callers authenticate with
    #[command(subcommand)]
    Key(key::Command),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The caller's id: lower-case letters, digits and hyphens, starting with a letter
    id: String,
    /// What the caller may do
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    workspaces: Workspaces,
    /// A URI or DNS name that identifies the caller in its client certificate, matched exactly; repeatable
    #[arg(long, value_name = "SAN")]
    certificate_san: Vec<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Do everything
    Admin,
    /// Manage its workspaces, but not callers or organizations
    WorkspaceAdmin,
    /// See and revoke the tokens of all workspaces
    Revoker,
    /// Read everything
    Auditor,
    /// Verify tokens
    Verifier,
}

/// The workspaces in which a caller may act.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Workspaces {
    /// Allow every workspace, including those created later
    #[arg(long)]
    all_workspaces: bool,
    /// Allow this workspace; repeatable
    #[arg(long, value_parser = names::workspace)]
    workspace: Vec<String>,
}

/// Runs a command.
pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Create(args) => create(args).await,
        Command::Get(args) => {
            let get = async |client: Client, name| client.caller_admin().get_caller(GetCallerRequest { name }).await;
            args.show(get).await
        }
        Command::List(args) => {
            let list = async |client: &Client, _: &_, page_size, page_token| {
                let request = ListCallersRequest { page_size, page_token };
                client.caller_admin().list_callers(request).await
            };
            args.run(list).await
        }
        Command::Delete(args) => {
            let delete = async |client: Client, name, no_wait| {
                let request = DeleteCallerRequest { name, no_wait };
                client.caller_admin().delete_caller(request).await
            };
            args.change("deleted", delete).await
        }
        Command::Key(command) => key::run(command).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs {
        id,
        role,
        workspaces: Workspaces {
            all_workspaces,
            workspace,
        },
        certificate_san,
        output,
        connection,
    } = args;
    let done = format!("callers/{id} is created");
    let request = CreateCallerRequest {
        caller_id: id,
        role: v1::Role::from(role).into(),
        workspaces: Some(Selection {
            all: all_workspaces,
            only: workspace,
        }),
        certificate_sans: certificate_san,
    };
    let client = connection.open().await?;
    let answer = client.caller_admin().create_caller(request).await?;
    output.print_done(answer.get_ref(), &done)
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::WorkspaceAdmin => Self::WorkspaceAdmin,
            Role::Revoker => Self::Revoker,
            Role::Auditor => Self::Auditor,
            Role::Verifier => Self::Verifier,
        }
    }
}

const COLUMNS: &[Field<Caller>] = &[
    ("NAME", |caller| caller.name.clone()),
    ("ROLE", role),
    ("WORKSPACES", |caller| workspaces(caller.workspaces.as_ref())),
    ("CREATED", |caller| time(caller.create_time.as_ref(), "")),
    ("KEYS EXPIRE", |caller| {
        time(caller.keys_expire_time.as_ref(), "no key works")
    }),
];

const FIELDS: &[Field<Caller>] = &[
    ("NAME", |caller| caller.name.clone()),
    ("ROLE", role),
    ("WORKSPACES", |caller| workspaces(caller.workspaces.as_ref())),
    ("CERTIFICATE SANS", |caller| caller.certificate_sans.join(" ")),
    ("CREATED", |caller| time(caller.create_time.as_ref(), "")),
    ("KEYS EXPIRE", |caller| time(caller.keys_expire_time.as_ref(), "")),
];

const DELETED: Field<Caller> = ("STATE", |_| "DELETED, with its keys".to_owned());

answers! {
    ListCallersResponse(answer) => View::list(&answer.callers, COLUMNS, "There are no callers."),
    CreateCallerResponse(answer) => View::details(answer.caller.as_ref(), FIELDS),
    GetCallerResponse(answer) => View::details(answer.caller.as_ref(), FIELDS),
    DeleteCallerResponse(answer) => View::details(answer.caller.as_ref(), &[FIELDS, &[DELETED]].concat()),
}

/// Shows a selection of workspaces. An empty selection is "none", never "all".
fn workspaces(selection: Option<&Selection>) -> String {
    match selection {
        Some(Selection { all: true, .. }) => "all".to_owned(),
        Some(Selection { all: false, only }) if !only.is_empty() => only.join(" "),
        _ => "none".to_owned(),
    }
}

fn role(caller: &Caller) -> String {
    word(caller.role().as_str_name(), "ROLE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_workspaces_are_not_all_workspaces() {
        let selection = |all, only: &[&str]| Selection {
            all,
            only: only.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(workspaces(Some(&selection(true, &[]))), "all");
        assert_eq!(
            workspaces(Some(&selection(false, &["workspaces/a", "workspaces/b"]))),
            "workspaces/a workspaces/b"
        );
        assert_eq!(workspaces(Some(&selection(false, &[]))), "none");
        assert_eq!(workspaces(None), "none");
    }
}

//! `tokend workspace`: commands about workspaces.

use clap::Subcommand;
use tokend_client::{
    Client,
    v1::{
        CreateWorkspaceRequest, DeleteWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest,
        ResumeWorkspaceRequest, SuspendWorkspaceRequest, Workspace,
    },
};

use super::{
    connection::Connection,
    list::ListArgs,
    names::{self, WorkspaceName},
    output::{Output, answers, time, word},
    single::{EndArgs, GetArgs},
};
use crate::{
    command_error::CommandError,
    terminal::{Field, View},
};

/// Commands about workspaces.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a workspace. Its id is permanent and is never used again
    Create(CreateArgs),
    /// Show a workspace
    Get(GetArgs<WorkspaceName>),
    /// List the workspaces that the caller may see
    List(ListArgs),
    /// Suspend a workspace: all its tokens are denied until it is resumed
    Suspend(EndArgs<WorkspaceName>),
    /// Resume a suspended workspace: its tokens work again
    Resume(GetArgs<WorkspaceName>),
    /// Permanently delete a workspace and revoke all its tokens
    Delete(EndArgs<WorkspaceName>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The workspace's id: lower-case letters, digits and hyphens, starting with a letter
    id: String,
    /// A name for people [default: the id]
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The organization that the workspace permanently belongs to
    #[arg(long, value_parser = names::organization)]
    organization: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Runs a command.
pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Create(args) => create(args).await,
        Command::Get(args) => {
            let get = async |client: Client, name| {
                client
                    .workspace_admin()
                    .get_workspace(GetWorkspaceRequest { name })
                    .await
            };
            args.show(get).await
        }
        Command::List(args) => {
            let list = async |client: &Client, _: &_, page_size, page_token| {
                let request = ListWorkspacesRequest { page_size, page_token };
                client.workspace_admin().list_workspaces(request).await
            };
            args.run(list).await
        }
        Command::Suspend(args) => {
            let suspend = async |client: Client, name, no_wait| {
                let request = SuspendWorkspaceRequest { name, no_wait };
                client.workspace_admin().suspend_workspace(request).await
            };
            args.change("suspended", suspend).await
        }
        Command::Resume(args) => {
            let resume = async |client: Client, name| {
                let request = ResumeWorkspaceRequest { name };
                client.workspace_admin().resume_workspace(request).await
            };
            args.change("resumed", resume).await
        }
        Command::Delete(args) => {
            let delete = async |client: Client, name, no_wait| {
                let request = DeleteWorkspaceRequest { name, no_wait };
                client.workspace_admin().delete_workspace(request).await
            };
            args.change("deleted", delete).await
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs {
        id,
        display_name,
        organization,
        output,
        connection,
    } = args;
    let done = format!("workspaces/{id} is created");
    let request = CreateWorkspaceRequest {
        display_name: display_name.unwrap_or_else(|| id.clone()),
        workspace_id: id,
        organization: organization.unwrap_or_default(),
    };
    let client = connection.open().await?;
    let answer = client.workspace_admin().create_workspace(request).await?;
    output.print_done(answer.get_ref(), &done)
}

const COLUMNS: &[Field<Workspace>] = &[
    ("NAME", |workspace| workspace.name.clone()),
    ("DISPLAY NAME", |workspace| workspace.display_name.clone()),
    ("STATE", state),
    ("ACTIVE TOKENS", |workspace| workspace.active_token_count.to_string()),
    ("CREATED", |workspace| time(workspace.create_time.as_ref(), "")),
];

const FIELDS: &[Field<Workspace>] = &[
    ("NAME", |workspace| workspace.name.clone()),
    ("DISPLAY NAME", |workspace| workspace.display_name.clone()),
    ("ORGANIZATION", |workspace| workspace.organization.clone()),
    ("STATE", state),
    ("ACTIVE TOKENS", |workspace| workspace.active_token_count.to_string()),
    ("CREATED", |workspace| time(workspace.create_time.as_ref(), "")),
];

answers! {
    ListWorkspacesResponse(answer) => {
        View::list(&answer.workspaces, COLUMNS, "There are no workspaces that this caller may see.")
    },
    CreateWorkspaceResponse(answer) => View::details(answer.workspace.as_ref(), FIELDS),
    GetWorkspaceResponse(answer) => View::details(answer.workspace.as_ref(), FIELDS),
    SuspendWorkspaceResponse(answer) => View::details(answer.workspace.as_ref(), FIELDS),
    ResumeWorkspaceResponse(answer) => View::details(answer.workspace.as_ref(), FIELDS),
    DeleteWorkspaceResponse(answer) => View::details(answer.workspace.as_ref(), FIELDS),
}

fn state(workspace: &Workspace) -> String {
    word(workspace.state().as_str_name(), "STATE_")
}

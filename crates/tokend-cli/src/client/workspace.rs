//! `tokend workspace`: workspaces, to which tokens belong.

use clap::Subcommand;
use tokend_client::v1::{
    CreateWorkspaceRequest, CreateWorkspaceResponse, GetWorkspaceRequest, GetWorkspaceResponse, ListWorkspacesRequest,
    ListWorkspacesResponse, Workspace,
};

use super::{
    connection::Connection,
    names,
    output::{Answer, Output, time, word},
    paging::Paging,
};
use crate::failure::Failure;
use crate::terminal::View;

/// What can be done with workspaces.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a workspace. Its id is permanent and never used again
    Create(CreateArgs),
    /// Show a workspace
    Get(GetArgs),
    /// List the workspaces that the caller may see
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its id: lower-case letters, digits and hyphens, a letter first
    id: String,
    /// What people call it; the id if absent
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The organization that it belongs to, for good
    #[arg(long, value_parser = names::organization)]
    organization: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The workspace: its name or its id
    #[arg(value_parser = names::workspace)]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args).await,
        Command::Get(args) => get(args).await,
        Command::List(args) => list(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { id, display_name, organization, output, connection } = args;
    let request = CreateWorkspaceRequest {
        display_name: display_name.unwrap_or_else(|| id.clone()),
        workspace_id: id,
        organization: organization.unwrap_or_default(),
    };
    let answer = connection.open().await?.workspace_admin().create_workspace(request).await?;
    output.print(answer.get_ref())
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, output, connection } = args;
    let answer = connection.open().await?.workspace_admin().get_workspace(GetWorkspaceRequest { name }).await?;
    output.print(answer.get_ref())
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ListArgs { paging, output, connection } = args;
    let mut workspaces = connection.open().await?.workspace_admin();
    let list = paging
        .gather(async |page_size, page_token| workspaces.list_workspaces(ListWorkspacesRequest { page_size, page_token }).await)
        .await?;
    output.print_list(&list)
}

impl Answer for CreateWorkspaceResponse {
    const MESSAGE: &'static str = "tokend.v1.CreateWorkspaceResponse";

    fn view(&self) -> View {
        details(self.workspace.as_ref())
    }
}

impl Answer for GetWorkspaceResponse {
    const MESSAGE: &'static str = "tokend.v1.GetWorkspaceResponse";

    fn view(&self) -> View {
        details(self.workspace.as_ref())
    }
}

impl Answer for ListWorkspacesResponse {
    const MESSAGE: &'static str = "tokend.v1.ListWorkspacesResponse";

    fn view(&self) -> View {
        let row = |workspace: &Workspace| {
            vec![
                workspace.name.clone(),
                workspace.display_name.clone(),
                state(workspace),
                workspace.active_token_count.to_string(),
                time(workspace.create_time.as_ref(), ""),
            ]
        };
        View::List {
            header: &["NAME", "DISPLAY NAME", "STATE", "ACTIVE TOKENS", "CREATED"],
            rows: self.workspaces.iter().map(row).collect(),
            none: "There are no workspaces that this caller may see.",
        }
    }
}

fn details(workspace: Option<&Workspace>) -> View {
    let fields = |workspace: &Workspace| {
        vec![
            ("NAME", workspace.name.clone()),
            ("DISPLAY NAME", workspace.display_name.clone()),
            ("ORGANIZATION", workspace.organization.clone()),
            ("STATE", state(workspace)),
            ("ACTIVE TOKENS", workspace.active_token_count.to_string()),
            ("CREATED", time(workspace.create_time.as_ref(), "")),
        ]
    };
    View::Details(workspace.map(fields).unwrap_or_default())
}

fn state(workspace: &Workspace) -> String {
    word(workspace.state().as_str_name(), "STATE_")
}

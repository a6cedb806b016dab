use tokend_client::v1::{
    CreateWorkspaceResponse, DeleteWorkspaceResponse, GetWorkspaceResponse, ListWorkspacesResponse, ResumeWorkspaceResponse,
    SuspendWorkspaceResponse, Workspace,
};

use crate::client::output::{Answer, time, word};
use crate::terminal::View;

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

/// Answers with one workspace.
macro_rules! shows_its_workspace {
    ($($answer:ident $name:literal),+ $(,)?) => {
        $(impl Answer for $answer {
            const MESSAGE: &'static str = $name;

            fn view(&self) -> View {
                View::Details(self.workspace.as_ref().map(fields).unwrap_or_default())
            }
        })+
    };
}

shows_its_workspace! {
    CreateWorkspaceResponse "tokend.v1.CreateWorkspaceResponse",
    GetWorkspaceResponse "tokend.v1.GetWorkspaceResponse",
    SuspendWorkspaceResponse "tokend.v1.SuspendWorkspaceResponse",
    ResumeWorkspaceResponse "tokend.v1.ResumeWorkspaceResponse",
    DeleteWorkspaceResponse "tokend.v1.DeleteWorkspaceResponse",
}

fn fields(workspace: &Workspace) -> Vec<(&'static str, String)> {
    vec![
        ("NAME", workspace.name.clone()),
        ("DISPLAY NAME", workspace.display_name.clone()),
        ("ORGANIZATION", workspace.organization.clone()),
        ("STATE", state(workspace)),
        ("ACTIVE TOKENS", workspace.active_token_count.to_string()),
        ("CREATED", time(workspace.create_time.as_ref(), "")),
    ]
}

fn state(workspace: &Workspace) -> String {
    word(workspace.state().as_str_name(), "STATE_")
}

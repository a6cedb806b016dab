//! Requests that change a workspace's state: `SuspendWorkspace`, `ResumeWorkspace`, `DeleteWorkspace`.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    DeleteWorkspaceRequest, DeleteWorkspaceResponse, ErrorReason, GetWorkspaceRequest, ResumeWorkspaceRequest,
    ResumeWorkspaceResponse, Revision, SuspendWorkspaceRequest, SuspendWorkspaceResponse, Workspace, workspace::State,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, FieldRows, Rows, refused},
    names::chosen_names,
    run::{World, run, same},
    values::Values,
};

on_both_databases!(states);

const SUSPEND: &str = "WorkspaceAdmin/SuspendWorkspace";
const RESUME: &str = "WorkspaceAdmin/ResumeWorkspace";
const DELETE: &str = "WorkspaceAdmin/DeleteWorkspace";

async fn states(installation: Installation) {
    run(installation, cases, read_back).await;
}

/// The rows that delete come last: a deleted workspace accepts only another delete.
pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let name = || values.other.clone();
    let mut suspend = Rows::of(
        SUSPEND,
        SuspendWorkspaceRequest {
            name: name(),
            no_wait: false,
        },
    );
    names(
        suspend.field("name", |request, value: String| request.name = value),
        values,
    );
    waits(suspend.field("no_wait", |request, value| request.no_wait = value));
    let mut resume = Rows::of(RESUME, ResumeWorkspaceRequest { name: name() });
    names(
        resume.field("name", |request, value: String| request.name = value),
        values,
    );
    let mut delete = Rows::of(
        DELETE,
        DeleteWorkspaceRequest {
            name: name(),
            no_wait: false,
        },
    );
    names(
        delete.field("name", |request, value: String| request.name = value),
        values,
    );
    waits(delete.field("no_wait", |request, value| request.no_wait = value));
    [suspend.finish(), resume.finish(), delete.finish()].concat()
}

fn names<R: Message + Clone>(mut name: FieldRows<'_, '_, R, impl Fn(&mut R, String)>, values: &Values) {
    let not_found = || refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    chosen_names(&mut name, values, "workspaces", &values.other, &not_found);
}

fn waits<R: Message + Clone>(mut no_wait: FieldRows<'_, '_, R, impl Fn(&mut R, bool)>) {
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);
}

async fn read_back(world: &World, Case { rpc, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let (workspace, revision, state): (Option<Workspace>, Option<Revision>, _) = match *rpc {
        SUSPEND => {
            let SuspendWorkspaceResponse { workspace, revision } =
                SuspendWorkspaceResponse::decode(answer).expect("the response decodes");
            (workspace, revision, State::Suspended)
        }
        RESUME => {
            let ResumeWorkspaceResponse { workspace, revision } =
                ResumeWorkspaceResponse::decode(answer).expect("the response decodes");
            (workspace, revision, State::Active)
        }
        DELETE => {
            let DeleteWorkspaceResponse { workspace, revision } =
                DeleteWorkspaceResponse::decode(answer).expect("the response decodes");
            (workspace, revision, State::Deleted)
        }
        other => return Err(format!("{other} has nothing to read back")),
    };
    let workspace = workspace.ok_or("the response has no workspace")?;
    same("whether there is a revision", revision.is_some(), true)?;
    same(
        "the workspace",
        (workspace.state(), workspace.name.as_str()),
        (state, world.values.other.as_str()),
    )?;
    let got = world
        .server
        .admin()
        .workspace_admin()
        .get_workspace(GetWorkspaceRequest {
            name: workspace.name.clone(),
        })
        .await;
    same(
        "the workspace from GetWorkspace",
        got.map_err(|status| status.to_string())?.into_inner().workspace,
        Some(workspace),
    )
}

//! Creates what the clients of a run work with.

use std::time::Duration;

use tokend_client::{
    CallerKey,
    v1::{
        CreateCallerKeyRequest, CreateCallerRequest, CreateOrganizationRequest, CreateTokenRequest,
        CreateWorkspaceRequest, Role, Selection, caller_admin_client::CallerAdminClient,
        token_admin_client::TokenAdminClient, workspace_admin_client::WorkspaceAdminClient,
    },
};
use tokend_tests::{after, eventually, token_in};
use tokio::time::timeout;
use tonic::{service::interceptor::InterceptedService, transport::Channel};

use crate::{
    history::{Span, TokenId, WorkspaceId},
    lab::Lab,
    random::Random,
    world::Organization,
};

const ORGANIZATIONS: usize = 2;
const WORKSPACES: usize = 10;
const KEYS: usize = 6;
/// The number of live tokens in each workspace.
pub(super) const TOKENS: usize = 6;

/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);
const PATIENCE: Duration = Duration::from_secs(5);

type Line = InterceptedService<Channel, CallerKey>;

/// Creates what a run begins with.
pub(crate) async fn furnish(lab: &Lab, random: &mut Random) {
    for _ in 0..ORGANIZATIONS {
        let number = lab.next_id();
        let create = async || organization(lab, random, number).await;
        let name = eventually("an organization is created", create).await;
        lab.world().organizations.push(Organization { name, is_busy: false });
    }
    for _ in 0..WORKSPACES {
        eventually("a workspace is created", async || workspace(lab, random).await).await;
    }
    for _ in 0..KEYS {
        eventually("a caller is created", async || caller(lab, random).await).await;
    }
    let workspaces = lab.world().open_workspaces().to_vec();
    for workspace in workspaces {
        for _ in 0..TOKENS {
            eventually("a token is created", async || token(lab, random, workspace, None).await).await;
        }
    }
}

fn line(lab: &Lab, random: &mut Random) -> Option<Line> {
    let line = lab.any_server(random).change_line()?;
    Some(InterceptedService::new(line, lab.cluster.admin().clone()))
}

async fn organization(lab: &Lab, random: &mut Random, number: u64) -> Option<String> {
    let id = format!("organization-{number}");
    let request = CreateOrganizationRequest {
        organization_id: id.clone(),
        display_name: id,
    };
    let created = WorkspaceAdminClient::new(line(lab, random)?)
        .create_organization(request)
        .await
        .ok()?;
    Some(created.into_inner().organization?.name)
}

/// Creates a workspace, in most cases in an organization.
pub(super) async fn workspace(lab: &Lab, random: &mut Random) -> Option<WorkspaceId> {
    let claimed = lab.world().claim_membership(random);
    let created = workspace_in(lab, random, claimed).await;
    let mut world = lab.world();
    if let Some(organization) = claimed {
        // Others of its workspaces may be claimed by changes of their own.
        world.organizations[organization].is_busy = false;
    }
    let name = created?;
    let id = lab.recorder.workspace(name.clone());
    world.add_workspace(name, claimed);
    Some(id)
}

async fn workspace_in(lab: &Lab, random: &mut Random, organization: Option<usize>) -> Option<String> {
    let id = format!("workspace-{}", lab.next_id());
    let organization = organization.map(|index| lab.world().organizations[index].name.clone());
    let request = CreateWorkspaceRequest {
        workspace_id: id.clone(),
        display_name: id,
        organization: organization.unwrap_or_default(),
    };
    let mut client = WorkspaceAdminClient::new(line(lab, random)?);
    let created = timeout(PATIENCE, client.create_workspace(request)).await.ok()?.ok()?;
    Some(created.into_inner().workspace?.name)
}

/// Creates a caller that may verify, with a key.
pub(super) async fn caller(lab: &Lab, random: &mut Random) -> Option<()> {
    let request = CreateCallerRequest {
        caller_id: format!("caller-{}", lab.next_id()),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        ..Default::default()
    };
    let mut client = CallerAdminClient::new(line(lab, random)?);
    let created = timeout(PATIENCE, client.create_caller(request)).await.ok()?.ok()?;
    let caller = created.into_inner().caller?.name;
    let request = CreateCallerKeyRequest {
        parent: caller.clone(),
        ttl: None,
    };
    let created = timeout(PATIENCE, client.create_caller_key(request)).await.ok()?.ok()?;
    let created = created.into_inner();
    let name = created.key?.name;
    let mut world = lab.world();
    lab.recorder.key(name.clone());
    world.add_key(name, caller, created.secret);
    Some(())
}

/// Creates a token, in a group if one is given.
pub(super) async fn token(
    lab: &Lab,
    random: &mut Random,
    workspace: WorkspaceId,
    group: Option<&str>,
) -> Option<TokenId> {
    let parent = lab.world().workspaces[workspace.0].name.clone();
    let labels = group.map(|group| ("group".to_owned(), group.to_owned()));
    let request = CreateTokenRequest {
        expiry: after(LIFETIME),
        labels: labels.into_iter().collect(),
        ..token_in(&parent)
    };
    let mut client = TokenAdminClient::new(line(lab, random)?);
    let invoked = lab.recorder.now();
    let created = timeout(PATIENCE, client.create_token(request)).await.ok()?.ok()?;
    let responded = lab.recorder.now();
    let created = created.into_inner();
    let creation = Span { invoked, responded };
    Some(lab.add_token(created.token?.name, created.secret, workspace, creation))
}

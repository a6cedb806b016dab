//! What the rows speak of: names and secrets of things that are there.

use std::time::Duration;

use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerKeyRequest, CreateCallerRequest, CreateOrganizationRequest,
    CreateTokenRequest, CreateWorkspaceRequest, DeleteCallerRequest, DeleteWorkspaceRequest, GetCallerRequest,
    GetOrganizationRequest, GetTokenPolicyRequest, GetTokenRequest, GetWorkspaceRequest, IdentifyTokenRequest,
    ListAuditEventsRequest, ListAuditEventsResponse, ListCallerKeysRequest, ListCallerKeysResponse, ListCallersRequest,
    ListCallersResponse, ListOrganizationsRequest, ListOrganizationsResponse, ListTokensRequest, ListTokensResponse,
    ListWorkspacesRequest, ListWorkspacesResponse, ResumeWorkspaceRequest, RevokeCallerKeyRequest, RevokeLeakedTokensRequest,
    RevokeTokenRequest, Role, RotateTokenRequest, Selection, SuspendWorkspaceRequest, UpdateTokenPolicyRequest,
    WatchAuditEventsRequest, revoke_leaked_tokens_request::Leak, token_policy::ExistingTokens,
};
use tokend_core::{
    credential::{Kind, Prefix},
    keyring::{KeyRing, RootKeys},
};
use tokend_tests::{Issued, Server, max_lifetime, question, token_in};

use crate::refusal::Secrets;

/// An id that a credential could have.
const SOME_ID: &str = "0A1b2C3d4E5f6G7h8";

/// Every scope, in the order of the catalogue.
pub(crate) const ALL_SCOPES: [&str; 15] = [
    "project",
    "project:admin",
    "repository",
    "repository:write",
    "repository:admin",
    "repository:delete",
    "pullrequest",
    "pullrequest:write",
    "webhook",
    "account",
    "pipeline",
    "pipeline:write",
    "pipeline:variable",
    "runner",
    "runner:write",
];

/// The lists that have pages.
const PAGED: [&str; 6] = [
    "TokenAdmin/ListTokens",
    "WorkspaceAdmin/ListWorkspaces",
    "WorkspaceAdmin/ListOrganizations",
    "CallerAdmin/ListCallers",
    "CallerAdmin/ListCallerKeys",
    "AuditLog/ListAuditEvents",
];

/// Names, secrets and page tokens.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) acme: String,
    /// A second workspace, which can be spared.
    pub(crate) other: String,
    /// An organization, to which neither belongs.
    pub(crate) organization: String,
    /// A token of the first one, with `repository:write`, without limits.
    pub(crate) token: Named,
    /// A token that 192.0.2.0/24 and 2001:db8::/32 may use.
    pub(crate) fenced: Named,
    /// A token that ::ffff:192.0.2.0/120 may use.
    pub(crate) fenced_mapped: Named,
    /// Tokens that can be spared.
    pub(crate) victims: Vec<String>,
    /// A caller, with two keys, and one of them.
    pub(crate) caller: String,
    pub(crate) caller_key: Named,
    /// A caller without a key.
    pub(crate) keyless: String,
    /// A caller to delete.
    pub(crate) doomed: String,
    pub(crate) admin_key: String,
    /// The epoch of the database.
    pub(crate) epoch: u64,
    pub(crate) pages: Vec<Pages>,
    secrets: Secrets,
}

/// A name and its secret.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) secret: String,
}

/// Page tokens of a list.
#[derive(Debug)]
pub(crate) struct Pages {
    /// `Service/Method`.
    pub(crate) rpc: &'static str,
    /// The second page.
    pub(crate) mine: String,
    /// The second page of the list that another caller asked for.
    pub(crate) of_another_caller: String,
    /// The second page of the same list of another parent, where lists have one.
    pub(crate) of_another_parent: Option<String>,
}

impl Values {
    /// Fills a server.
    pub(crate) async fn of(server: &Server) -> Self {
        let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
        let organization = server.organization("initech").await;
        server.organization("umbrella").await;
        let token = async |request| {
            let Issued { public, secret } = server.token(request).await;
            Named { name: public.name, secret }
        };
        let fenced = async |cidrs: &[&str]| {
            token(CreateTokenRequest { allowed_cidrs: cidrs.iter().map(ToString::to_string).collect(), ..token_in(&acme) }).await
        };
        let (fenced, fenced_mapped) = (fenced(&["192.0.2.0/24", "2001:db8::/32"]).await, fenced(&["::ffff:192.0.2.0/120"]).await);
        let victims = vec![token(token_in(&acme)).await.name];
        for _ in 0..2 {
            server.token(token_in(&other)).await;
        }
        let Issued { public: name, secret } = server.caller("gateway", Role::Verifier).await;
        let caller_key = Named { name, secret };
        let caller = "callers/gateway".to_owned();
        let auditor = server.caller("auditor", Role::Auditor).await;
        for parent in ["callers/gateway", "callers/auditor"] {
            let request = CreateCallerKeyRequest { parent: parent.to_owned(), ttl: None };
            server.admin().caller_admin().create_caller_key(request).await.expect("a second key");
        }
        let without_key = async |id: &str| {
            let request = Self::new_caller(id);
            server.admin().caller_admin().create_caller(request).await.expect("a caller").into_inner().caller.expect("told").name
        };
        let (keyless, doomed) = (without_key("keyless").await, without_key("doomed").await);
        let token = token(token_in(&acme)).await;
        let epoch = server.verdict(question(&token.secret, &acme, &[])).await.revision.expect("told").epoch;
        let admin_key = server.admin_key().to_owned();
        let secrets = [&token.secret, &fenced.secret, &fenced_mapped.secret, &caller_key.secret, &auditor.secret, &admin_key];
        let secrets = Secrets::of(secrets.map(String::as_str));
        let pages = pages(server, &auditor.secret).await;
        Self {
            acme,
            other,
            organization,
            token,
            fenced,
            fenced_mapped,
            victims,
            caller,
            caller_key,
            keyless,
            doomed,
            admin_key,
            epoch,
            pages,
            secrets,
        }
    }

    /// What a server could hold, for whoever only counts rows.
    pub(crate) fn example() -> Self {
        let named = |collection: &str| Named {
            name: format!("{collection}/{SOME_ID}"),
            secret: foreign_secret("tkd", Kind::WorkspaceToken),
        };
        let page = || "0AAAAAAAAAAAAAAAAAAAAAGFjbWU".to_owned();
        Self {
            acme: "workspaces/acme".to_owned(),
            other: "workspaces/other".to_owned(),
            organization: "organizations/initech".to_owned(),
            token: named("workspaces/acme/tokens"),
            fenced: named("workspaces/acme/tokens"),
            fenced_mapped: named("workspaces/acme/tokens"),
            victims: vec![format!("workspaces/acme/tokens/{SOME_ID}")],
            caller: "callers/gateway".to_owned(),
            caller_key: named("callers/gateway/keys"),
            keyless: "callers/keyless".to_owned(),
            doomed: "callers/doomed".to_owned(),
            admin_key: foreign_secret("tkd", Kind::CallerKey),
            epoch: 1,
            pages: PAGED
                .map(|rpc| Pages { rpc, mine: page(), of_another_caller: page(), of_another_parent: Some(page()) })
                .into_iter()
                .collect(),
            secrets: Secrets::default(),
        }
    }

    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A request that is accepted.
    pub(crate) fn good_request(&self, rpc: &str) -> Vec<u8> {
        let (acme, caller, name) = (self.acme.clone(), self.caller.clone(), self.token.name.clone());
        match rpc {
            "TokenVerify/Verify" => question(&self.token.secret, &acme, &["repository"]).encode_to_vec(),
            "TokenVerify/BatchVerify" => {
                let requests = vec![question(&self.token.secret, &acme, &["repository"])];
                BatchVerifyRequest { requests }.encode_to_vec()
            }
            "TokenAdmin/CreateToken" => token_in(&acme).encode_to_vec(),
            "TokenAdmin/GetToken" => GetTokenRequest { name }.encode_to_vec(),
            "TokenAdmin/ListTokens" => ListTokensRequest { parent: acme, ..Default::default() }.encode_to_vec(),
            "TokenAdmin/RotateToken" => RotateTokenRequest { name: self.victims[0].clone(), ..Default::default() }.encode_to_vec(),
            "TokenAdmin/RevokeToken" => RevokeTokenRequest { name: self.victims[0].clone(), ..Default::default() }.encode_to_vec(),
            "TokenAdmin/BatchRevokeTokens" => {
                let names = vec![self.victims[0].clone()];
                BatchRevokeTokensRequest { parent: acme, names, ..Default::default() }.encode_to_vec()
            }
            "TokenAdmin/RevokeLeakedTokens" => {
                let leaks = vec![Leak { secret: "junk".to_owned(), ..Default::default() }];
                RevokeLeakedTokensRequest { leaks, no_wait: false }.encode_to_vec()
            }
            "TokenAdmin/IdentifyToken" => IdentifyTokenRequest { secret: self.token.secret.clone() }.encode_to_vec(),
            "TokenAdmin/ListScopes"
            | "WorkspaceAdmin/ListWorkspaces"
            | "WorkspaceAdmin/ListOrganizations"
            | "CallerAdmin/ListCallers" => Vec::new(),
            "WorkspaceAdmin/CreateWorkspace" => Self::new_workspace("fresh").encode_to_vec(),
            "WorkspaceAdmin/GetWorkspace" => GetWorkspaceRequest { name: acme }.encode_to_vec(),
            "WorkspaceAdmin/SuspendWorkspace" => {
                SuspendWorkspaceRequest { name: self.other.clone(), ..Default::default() }.encode_to_vec()
            }
            "WorkspaceAdmin/ResumeWorkspace" => ResumeWorkspaceRequest { name: self.other.clone() }.encode_to_vec(),
            "WorkspaceAdmin/DeleteWorkspace" => {
                DeleteWorkspaceRequest { name: self.other.clone(), ..Default::default() }.encode_to_vec()
            }
            "WorkspaceAdmin/CreateOrganization" => Self::new_organization("fresh").encode_to_vec(),
            "WorkspaceAdmin/GetOrganization" => GetOrganizationRequest { name: self.organization.clone() }.encode_to_vec(),
            "WorkspaceAdmin/GetTokenPolicy" => GetTokenPolicyRequest { name: format!("{acme}/tokenPolicy") }.encode_to_vec(),
            "WorkspaceAdmin/UpdateTokenPolicy" => Self::new_policy(&acme).encode_to_vec(),
            "CallerAdmin/CreateCaller" => Self::new_caller("fresh").encode_to_vec(),
            "CallerAdmin/GetCaller" => GetCallerRequest { name: caller }.encode_to_vec(),
            "CallerAdmin/DeleteCaller" => DeleteCallerRequest { name: self.doomed.clone(), ..Default::default() }.encode_to_vec(),
            "CallerAdmin/CreateCallerKey" => {
                CreateCallerKeyRequest { parent: self.keyless.clone(), ..Default::default() }.encode_to_vec()
            }
            "CallerAdmin/RevokeCallerKey" => {
                RevokeCallerKeyRequest { name: self.caller_key.name.clone(), ..Default::default() }.encode_to_vec()
            }
            "CallerAdmin/ListCallerKeys" => ListCallerKeysRequest { parent: caller, ..Default::default() }.encode_to_vec(),
            "AuditLog/ListAuditEvents" => ListAuditEventsRequest { parent: acme, ..Default::default() }.encode_to_vec(),
            "AuditLog/WatchAuditEvents" => WatchAuditEventsRequest { parent: acme, after_sequence: 0 }.encode_to_vec(),
            other => panic!("{other} is new: give it a good request and rows"),
        }
    }

    /// Asks for a workspace.
    pub(crate) fn new_workspace(id: &str) -> CreateWorkspaceRequest {
        CreateWorkspaceRequest { workspace_id: id.to_owned(), display_name: "Fresh".to_owned(), organization: String::new() }
    }

    /// Asks for an organization.
    pub(crate) fn new_organization(id: &str) -> CreateOrganizationRequest {
        CreateOrganizationRequest { organization_id: id.to_owned(), display_name: "Fresh".to_owned() }
    }

    /// Asks for a policy by which tokens that there are go on.
    pub(crate) fn new_policy(owner: &str) -> UpdateTokenPolicyRequest {
        let policy = max_lifetime(owner, Duration::from_secs(24 * 60 * 60), ExistingTokens::Keep);
        UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() }
    }

    /// Asks for a caller who may look everywhere.
    pub(crate) fn new_caller(id: &str) -> CreateCallerRequest {
        CreateCallerRequest {
            caller_id: id.to_owned(),
            role: Role::Auditor.into(),
            workspaces: Some(Selection { all: true, only: Vec::new() }),
            certificate_sans: Vec::new(),
        }
    }
}

/// Secrets of tokens with right checksums that another installation minted.
pub(crate) fn foreign_secrets(prefix: &str, count: usize) -> Vec<String> {
    let ring = foreign_ring(prefix);
    (0..count).map(|_| minted(&ring, Kind::WorkspaceToken)).collect()
}

/// A secret with a right checksum that another installation minted.
pub(crate) fn foreign_secret(prefix: &str, kind: Kind) -> String {
    minted(&foreign_ring(prefix), kind)
}

fn minted(ring: &KeyRing, kind: Kind) -> String {
    ring.mint(kind, &mut rand::rngs::SysRng).expect("it does not fail").secret.expose().to_owned()
}

fn foreign_ring(prefix: &str) -> KeyRing {
    let prefix: Prefix = prefix.parse().expect("it is a prefix");
    let mut random = rand::rngs::SysRng;
    let roots = RootKeys::generate(prefix, &mut random).expect("it does not fail");
    roots.ring(&roots.known_at_first()).expect("its own keys")
}

/// The second page of every list, as the administrator and an auditor are told.
async fn pages(server: &Server, auditor: &str) -> Vec<Pages> {
    let auditor = server.client(auditor).await;
    let mut told = Vec::new();
    for client in [server.admin(), &auditor] {
        let tokens = async |parent: &str| {
            let request = ListTokensRequest { parent: parent.to_owned(), page_size: 1, ..Default::default() };
            let ListTokensResponse { next_page_token, .. } =
                client.token_admin().list_tokens(request).await.expect("told").into_inner();
            next_page_token
        };
        let keys = async |parent: &str| {
            let request = ListCallerKeysRequest { parent: parent.to_owned(), page_size: 1, ..Default::default() };
            let ListCallerKeysResponse { next_page_token, .. } =
                client.caller_admin().list_caller_keys(request).await.expect("told").into_inner();
            next_page_token
        };
        let events = async |parent: &str| {
            let request = ListAuditEventsRequest { parent: parent.to_owned(), page_size: 1, ..Default::default() };
            let ListAuditEventsResponse { next_page_token, .. } =
                client.audit_log().list_audit_events(request).await.expect("told").into_inner();
            next_page_token
        };
        let request = ListWorkspacesRequest { page_size: 1, ..Default::default() };
        let ListWorkspacesResponse { next_page_token: workspaces, .. } =
            client.workspace_admin().list_workspaces(request).await.expect("told").into_inner();
        let request = ListOrganizationsRequest { page_size: 1, ..Default::default() };
        let ListOrganizationsResponse { next_page_token: organizations, .. } =
            client.workspace_admin().list_organizations(request).await.expect("told").into_inner();
        let request = ListCallersRequest { page_size: 1, ..Default::default() };
        let ListCallersResponse { next_page_token: callers, .. } =
            client.caller_admin().list_callers(request).await.expect("told").into_inner();
        told.push([
            (tokens("workspaces/acme").await, Some(tokens("workspaces/other").await)),
            (workspaces, None),
            (organizations, None),
            (callers, None),
            (keys("callers/gateway").await, Some(keys("callers/auditor").await)),
            (events("workspaces/acme").await, Some(events("workspaces/other").await)),
        ]);
    }
    let [theirs, mine] = [told.pop().expect("two"), told.pop().expect("two")];
    let pages = PAGED.into_iter().zip(mine).zip(theirs);
    pages
        .map(|((rpc, (mine, of_another_parent)), (of_another_caller, _))| {
            assert!(!mine.is_empty() && !of_another_caller.is_empty(), "{rpc} has a second page");
            Pages { rpc, mine, of_another_caller, of_another_parent }
        })
        .collect()
}

//! The values of the rows: names and secrets of existing resources.

use std::time::Duration;

use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerKeyRequest, CreateCallerRequest,
    CreateOrganizationRequest, CreateTokenRequest, CreateWorkspaceRequest, DeleteCallerRequest, DeleteWorkspaceRequest,
    GetCallerRequest, GetTokenPolicyRequest, GetTokenRequest, GetWorkspaceRequest, IdentifyTokenRequest,
    ListAuditEventsRequest, ListCallerKeysRequest, ListTokensRequest, ResumeWorkspaceRequest, RevokeCallerKeyRequest,
    RevokeLeakedTokensRequest, RevokeTokenRequest, Role, RotateTokenRequest, Selection, SuspendWorkspaceRequest,
    UpdateTokenPolicyRequest, WatchAuditEventsRequest, revoke_leaked_tokens_request::Leak,
    token_policy::ExistingTokens,
};
use tokend_core::{
    credential::{Kind, Prefix},
    keyring::{KeyRing, RootKeys},
};
use tokend_tests::{Issued, Server, max_lifetime, question, token_in};

use crate::{
    page_tokens::{PAGED, Pages, pages},
    refusal::Secrets,
};

/// A well-formed credential ID.
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

/// Names, secrets and page tokens.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) acme: String,
    /// A second workspace, which rows may delete.
    pub(crate) other: String,
    /// An organization without workspaces.
    pub(crate) organization: String,
    /// A token of the first workspace, with `repository:write` and without limits.
    pub(crate) token: Named,
    /// A token that 192.0.2.0/24 and 2001:db8::/32 may use.
    pub(crate) fenced: Named,
    /// A token that ::ffff:192.0.2.0/120 may use.
    pub(crate) fenced_mapped: Named,
    /// Tokens that rows may revoke.
    pub(crate) victims: Vec<String>,
    /// A caller with two keys, and one of the keys.
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

impl Values {
    /// Creates the resources on a server.
    pub(crate) async fn of(server: &Server) -> Self {
        let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
        let organization = server.organization("initech").await;
        server.organization("umbrella").await;
        let token = async |request| {
            let Issued { public, secret } = server.token(request).await;
            Named {
                name: public.name,
                secret,
            }
        };
        let fenced = async |cidrs: &[&str]| {
            token(CreateTokenRequest {
                allowed_cidrs: cidrs.iter().map(ToString::to_string).collect(),
                ..token_in(&acme)
            })
            .await
        };
        let (fenced, fenced_mapped) = (
            fenced(&["192.0.2.0/24", "2001:db8::/32"]).await,
            fenced(&["::ffff:192.0.2.0/120"]).await,
        );
        let victims = vec![token(token_in(&acme)).await.name];
        for _ in 0..2 {
            server.token(token_in(&other)).await;
        }
        let Issued { public: name, secret } = server.caller("gateway", Role::Verifier).await;
        let caller_key = Named { name, secret };
        let caller = "callers/gateway".to_owned();
        let auditor = server.caller("auditor", Role::Auditor).await;
        for parent in ["callers/gateway", "callers/auditor"] {
            let request = CreateCallerKeyRequest {
                parent: parent.to_owned(),
                ttl: None,
            };
            server
                .admin()
                .caller_admin()
                .create_caller_key(request)
                .await
                .expect("CreateCallerKey succeeds");
        }
        let without_key = async |id: &str| {
            let request = Self::new_caller(id);
            server
                .admin()
                .caller_admin()
                .create_caller(request)
                .await
                .expect("CreateCaller succeeds")
                .into_inner()
                .caller
                .expect("the response is complete")
                .name
        };
        let (keyless, doomed) = (without_key("keyless").await, without_key("doomed").await);
        let token = token(token_in(&acme)).await;
        let epoch = server
            .verdict(question(&token.secret, &acme, &[]))
            .await
            .revision
            .expect("the response is complete")
            .epoch;
        let admin_key = server.admin_key().to_owned();
        let secrets = [
            &token.secret,
            &fenced.secret,
            &fenced_mapped.secret,
            &caller_key.secret,
            &auditor.secret,
            &admin_key,
        ];
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

    /// Returns plausible values without a server, for a count of the rows.
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
                .map(|rpc| Pages {
                    rpc,
                    mine: page(),
                    of_another_caller: page(),
                    of_another_parent: Some(page()),
                })
                .into_iter()
                .collect(),
            secrets: Secrets::default(),
        }
    }

    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Returns an accepted request for the RPCs whose first accepted row is not suitable.
    pub(crate) fn good_request(&self, rpc: &str) -> Option<Vec<u8>> {
        let (acme, caller, name) = (self.acme.clone(), self.caller.clone(), self.token.name.clone());
        Some(match rpc {
            "TokenVerify/Verify" => question(&self.token.secret, &acme, &["repository"]).encode_to_vec(),
            "TokenVerify/BatchVerify" => {
                let requests = vec![question(&self.token.secret, &acme, &["repository"])];
                BatchVerifyRequest { requests }.encode_to_vec()
            }
            "TokenAdmin/CreateToken" => token_in(&acme).encode_to_vec(),
            "TokenAdmin/GetToken" => GetTokenRequest { name }.encode_to_vec(),
            "TokenAdmin/ListTokens" => ListTokensRequest {
                parent: acme,
                ..Default::default()
            }
            .encode_to_vec(),
            "TokenAdmin/RotateToken" => RotateTokenRequest {
                name: self.victims[0].clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "TokenAdmin/RevokeToken" => RevokeTokenRequest {
                name: self.victims[0].clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "TokenAdmin/BatchRevokeTokens" => {
                let names = vec![self.victims[0].clone()];
                BatchRevokeTokensRequest {
                    parent: acme,
                    names,
                    ..Default::default()
                }
                .encode_to_vec()
            }
            "TokenAdmin/RevokeLeakedTokens" => {
                let leaks = vec![Leak {
                    secret: "junk".to_owned(),
                    ..Default::default()
                }];
                RevokeLeakedTokensRequest { leaks, no_wait: false }.encode_to_vec()
            }
            "TokenAdmin/IdentifyToken" => IdentifyTokenRequest {
                secret: self.token.secret.clone(),
            }
            .encode_to_vec(),
            "TokenAdmin/ListScopes"
            | "WorkspaceAdmin/ListWorkspaces"
            | "WorkspaceAdmin/ListOrganizations"
            | "CallerAdmin/ListCallers" => Vec::new(),
            "WorkspaceAdmin/CreateWorkspace" => Self::new_workspace("fresh").encode_to_vec(),
            "WorkspaceAdmin/GetWorkspace" => GetWorkspaceRequest { name: acme }.encode_to_vec(),
            "WorkspaceAdmin/SuspendWorkspace" => SuspendWorkspaceRequest {
                name: self.other.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "WorkspaceAdmin/ResumeWorkspace" => ResumeWorkspaceRequest {
                name: self.other.clone(),
            }
            .encode_to_vec(),
            "WorkspaceAdmin/DeleteWorkspace" => DeleteWorkspaceRequest {
                name: self.other.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "WorkspaceAdmin/CreateOrganization" => Self::new_organization("fresh").encode_to_vec(),
            "WorkspaceAdmin/GetTokenPolicy" => GetTokenPolicyRequest {
                name: format!("{acme}/tokenPolicy"),
            }
            .encode_to_vec(),
            "WorkspaceAdmin/UpdateTokenPolicy" => Self::new_policy(&acme).encode_to_vec(),
            "CallerAdmin/CreateCaller" => Self::new_caller("fresh").encode_to_vec(),
            "CallerAdmin/GetCaller" => GetCallerRequest { name: caller }.encode_to_vec(),
            "CallerAdmin/DeleteCaller" => DeleteCallerRequest {
                name: self.doomed.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "CallerAdmin/CreateCallerKey" => CreateCallerKeyRequest {
                parent: self.keyless.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "CallerAdmin/RevokeCallerKey" => RevokeCallerKeyRequest {
                name: self.caller_key.name.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "CallerAdmin/ListCallerKeys" => ListCallerKeysRequest {
                parent: caller,
                ..Default::default()
            }
            .encode_to_vec(),
            "AuditLog/ListAuditEvents" => ListAuditEventsRequest {
                parent: acme,
                ..Default::default()
            }
            .encode_to_vec(),
            "AuditLog/WatchAuditEvents" => WatchAuditEventsRequest {
                parent: acme,
                after_sequence: 0,
            }
            .encode_to_vec(),
            _ => return None,
        })
    }

    /// Returns a request for a workspace.
    pub(crate) fn new_workspace(id: &str) -> CreateWorkspaceRequest {
        CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            display_name: "Fresh".to_owned(),
            organization: String::new(),
        }
    }

    /// Returns a request for an organization.
    pub(crate) fn new_organization(id: &str) -> CreateOrganizationRequest {
        CreateOrganizationRequest {
            organization_id: id.to_owned(),
            display_name: "Fresh".to_owned(),
        }
    }

    /// Returns a request for a policy that does not affect existing tokens.
    pub(crate) fn new_policy(owner: &str) -> UpdateTokenPolicyRequest {
        let policy = max_lifetime(owner, Duration::from_secs(24 * 60 * 60), ExistingTokens::Keep);
        UpdateTokenPolicyRequest {
            policy: Some(policy),
            ..Default::default()
        }
    }

    /// Returns a request for a caller that may read everything.
    pub(crate) fn new_caller(id: &str) -> CreateCallerRequest {
        CreateCallerRequest {
            caller_id: id.to_owned(),
            role: Role::Auditor.into(),
            workspaces: Some(Selection {
                all: true,
                only: Vec::new(),
            }),
            certificate_sans: Vec::new(),
        }
    }
}

/// Returns token secrets of another installation, with valid checksums.
pub(crate) fn foreign_secrets(prefix: &str, count: usize) -> Vec<String> {
    let ring = foreign_ring(prefix);
    (0..count).map(|_| minted(&ring, Kind::WorkspaceToken)).collect()
}

/// Returns a secret of another installation, with a valid checksum.
pub(crate) fn foreign_secret(prefix: &str, kind: Kind) -> String {
    minted(&foreign_ring(prefix), kind)
}

fn minted(ring: &KeyRing, kind: Kind) -> String {
    ring.mint(kind, &mut rand::rngs::SysRng)
        .expect("the randomness source works")
        .secret
        .expose()
        .to_owned()
}

fn foreign_ring(prefix: &str) -> KeyRing {
    let prefix: Prefix = prefix.parse().expect("the prefix is valid");
    let mut random = rand::rngs::SysRng;
    let roots = RootKeys::generate(prefix, &mut random).expect("the randomness source works");
    roots
        .ring(&roots.initial_keys())
        .expect("the key ring has its initial keys")
}

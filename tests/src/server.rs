use std::{fs, path::Path, time::Duration};

use tokend_client::{
    CallerKey, Client, Retry, Tls,
    v1::{
        CreateCallerKeyRequest, CreateCallerRequest, CreateOrganizationRequest, CreateTokenRequest,
        CreateWorkspaceRequest, DeleteWorkspaceRequest, DeleteWorkspaceResponse, GetTokenPolicyRequest,
        GetTokenPolicyResponse, GetTokenRequest, GetWorkspaceRequest, ResumeWorkspaceRequest, ResumeWorkspaceResponse,
        RevokeTokenRequest, RevokeTokenResponse, Role, Selection, SuspendWorkspaceRequest, SuspendWorkspaceResponse,
        Token, TokenPolicy, UpdateTokenPolicyRequest, UpdateTokenPolicyResponse, VerifyRequest, VerifyResponse,
        Workspace,
    },
};

use crate::{Finished, Process, eventually};

/// A running `tokend serve`. Dropping it kills the server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    ready: serde_json::Value,
    admin_key: String,
    admin: Client,
    tls: Tls,
}

/// A token that was just created, or the key of a caller that was just created.
#[derive(Clone)]
pub struct Issued<T> {
    /// The part that is not secret.
    pub public: T,
    /// The secret.
    pub secret: String,
}

impl Server {
    /// Waits until the process has written its ready file.
    pub(crate) async fn start(mut process: Process, ready_file: &Path, admin_key: &str, tls: &Tls) -> Self {
        let ready = eventually("the server writes its ready file", async || {
            // Its output is printed with the panic.
            assert!(process.is_running(), "the server runs");
            serde_json::from_str(&fs::read_to_string(ready_file).ok()?).ok()
        });
        let ready: serde_json::Value = ready.await;
        let admin = connect(address(&ready, "grpc_address"), admin_key, tls).await;
        Self {
            process,
            ready,
            admin_key: admin_key.to_owned(),
            admin,
            tls: tls.clone(),
        }
    }

    /// Returns the address of the gRPC port.
    #[must_use]
    pub fn grpc_address(&self) -> &str {
        address(&self.ready, "grpc_address")
    }

    /// Returns the address of the ops port.
    #[must_use]
    pub fn ops_address(&self) -> &str {
        address(&self.ready, "ops_address")
    }

    /// Returns the server's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends SIGTERM to the server and waits until it exits.
    pub async fn stop(self) -> Finished {
        self.process.terminate();
        self.finish().await
    }

    /// Waits until the server exits.
    pub async fn finish(self) -> Finished {
        self.process.finish().await
    }

    /// Kills the server, as a crash does.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Returns the key of the first caller.
    #[must_use]
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Returns a client of the first caller, which may do everything.
    #[must_use]
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// Returns a client with this key, on its own connection.
    pub async fn client(&self, key: &str) -> Client {
        connect(self.grpc_address(), key, &self.tls).await
    }

    /// Creates a caller for all workspaces, with a key.
    ///
    /// # Panics
    /// If the call fails, like the other helpers below.
    pub async fn caller(&self, id: &str, role: Role) -> Issued<String> {
        let request = CreateCallerRequest {
            caller_id: id.to_owned(),
            role: role.into(),
            workspaces: Some(Selection {
                all: true,
                only: Vec::new(),
            }),
            ..Default::default()
        };
        self.caller_as(request).await
    }

    /// Creates a caller, with a key. The public part is the name of the key.
    pub async fn caller_as(&self, request: CreateCallerRequest) -> Issued<String> {
        let created = self
            .admin
            .caller_admin()
            .create_caller(request)
            .await
            .expect("CreateCaller succeeds");
        let request = CreateCallerKeyRequest {
            parent: created.into_inner().caller.expect("the response has the caller").name,
            ttl: None,
        };
        let created = self
            .admin
            .caller_admin()
            .create_caller_key(request)
            .await
            .expect("CreateCallerKey succeeds")
            .into_inner();
        Issued {
            public: created.key.expect("the response has the key").name,
            secret: created.secret,
        }
    }

    /// Creates a workspace and returns its name.
    pub async fn workspace(&self, id: &str) -> String {
        self.workspace_in(id, "").await
    }

    /// Creates a workspace of this organization and returns its name.
    pub async fn workspace_in(&self, id: &str, organization: &str) -> String {
        let request = CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            display_name: id.to_uppercase(),
            organization: organization.to_owned(),
        };
        let created = self
            .admin
            .workspace_admin()
            .create_workspace(request)
            .await
            .expect("CreateWorkspace succeeds");
        created
            .into_inner()
            .workspace
            .expect("the response has the workspace")
            .name
    }

    /// Creates an organization and returns its name.
    pub async fn organization(&self, id: &str) -> String {
        let request = CreateOrganizationRequest {
            organization_id: id.to_owned(),
            display_name: id.to_uppercase(),
        };
        let created = self
            .admin
            .workspace_admin()
            .create_organization(request)
            .await
            .expect("CreateOrganization succeeds");
        created
            .into_inner()
            .organization
            .expect("the response has the organization")
            .name
    }

    /// Returns the workspace.
    pub async fn get_workspace(&self, name: &str) -> Workspace {
        let request = GetWorkspaceRequest { name: name.to_owned() };
        let got = self
            .admin
            .workspace_admin()
            .get_workspace(request)
            .await
            .expect("GetWorkspace succeeds");
        got.into_inner().workspace.expect("the response has the workspace")
    }

    /// Suspends a workspace.
    pub async fn suspend(&self, name: &str) -> SuspendWorkspaceResponse {
        let request = SuspendWorkspaceRequest {
            name: name.to_owned(),
            no_wait: false,
        };
        self.admin
            .workspace_admin()
            .suspend_workspace(request)
            .await
            .expect("SuspendWorkspace succeeds")
            .into_inner()
    }

    /// Resumes a workspace.
    pub async fn resume(&self, name: &str) -> ResumeWorkspaceResponse {
        let request = ResumeWorkspaceRequest { name: name.to_owned() };
        self.admin
            .workspace_admin()
            .resume_workspace(request)
            .await
            .expect("ResumeWorkspace succeeds")
            .into_inner()
    }

    /// Deletes a workspace.
    pub async fn delete_workspace(&self, name: &str) -> DeleteWorkspaceResponse {
        let request = DeleteWorkspaceRequest {
            name: name.to_owned(),
            no_wait: false,
        };
        self.admin
            .workspace_admin()
            .delete_workspace(request)
            .await
            .expect("DeleteWorkspace succeeds")
            .into_inner()
    }

    /// Returns the token policy of an organization or workspace, and the rules that apply to a workspace's tokens.
    pub async fn get_policy(&self, owner: &str) -> GetTokenPolicyResponse {
        let request = GetTokenPolicyRequest {
            name: format!("{owner}/tokenPolicy"),
        };
        self.admin
            .workspace_admin()
            .get_token_policy(request)
            .await
            .expect("GetTokenPolicy succeeds")
            .into_inner()
    }

    /// Sets a token policy.
    pub async fn set_policy(&self, policy: TokenPolicy) -> UpdateTokenPolicyResponse {
        let request = UpdateTokenPolicyRequest {
            policy: Some(policy),
            ..Default::default()
        };
        self.admin
            .workspace_admin()
            .update_token_policy(request)
            .await
            .expect("UpdateTokenPolicy succeeds")
            .into_inner()
    }

    /// Creates a token.
    pub async fn token(&self, request: CreateTokenRequest) -> Issued<Token> {
        let created = self
            .admin
            .token_admin()
            .create_token(request)
            .await
            .expect("CreateToken succeeds")
            .into_inner();
        Issued {
            public: created.token.expect("the response has the token"),
            secret: created.secret,
        }
    }

    /// Returns the token without its unused scopes, which only GetToken returns.
    pub async fn get_token(&self, name: &str) -> Token {
        Token {
            unused_scopes: Vec::new(),
            ..self.get_token_with_unused_scopes(name).await
        }
    }

    /// Returns the token.
    pub async fn get_token_with_unused_scopes(&self, name: &str) -> Token {
        let request = GetTokenRequest { name: name.to_owned() };
        let got = self
            .admin
            .token_admin()
            .get_token(request)
            .await
            .expect("GetToken succeeds");
        got.into_inner().token.expect("the response has the token")
    }

    /// Revokes a token.
    pub async fn revoke(&self, name: &str) -> RevokeTokenResponse {
        let request = RevokeTokenRequest {
            name: name.to_owned(),
            reason: "it leaked".to_owned(),
            no_wait: false,
        };
        self.admin
            .token_admin()
            .revoke_token(request)
            .await
            .expect("RevokeToken succeeds")
            .into_inner()
    }

    /// Returns the verdict.
    pub async fn verdict(&self, question: VerifyRequest) -> VerifyResponse {
        self.admin
            .token_verify()
            .verify(question)
            .await
            .expect("Verify succeeds")
            .into_inner()
    }
}

fn address<'a>(ready: &'a serde_json::Value, name: &str) -> &'a str {
    ready[name]
        .as_str()
        .unwrap_or_else(|| panic!("the ready file has no {name}: {ready}"))
}

async fn connect(address: &str, key: &str, tls: &Tls) -> Client {
    let key = CallerKey::new(key).expect("the key can be sent");
    // A test sees each error of the server, and waits as long as it has to.
    let builder = Client::builder(address).key(&key).tls(tls);
    builder
        .retry(Retry::never())
        .deadline(Duration::from_secs(60))
        .connect()
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

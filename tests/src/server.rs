use std::{fs, path::Path};

use tokend_client::{
    CallerKey, Client, Tls,
    v1::{
        CreateCallerKeyRequest, CreateCallerRequest, CreateOrganizationRequest, CreateTokenRequest, CreateWorkspaceRequest,
        DeleteWorkspaceRequest, DeleteWorkspaceResponse, GetTokenPolicyRequest, GetTokenPolicyResponse, GetTokenRequest,
        GetWorkspaceRequest, ResumeWorkspaceRequest, ResumeWorkspaceResponse, RevokeTokenRequest, RevokeTokenResponse, Role,
        Selection, SuspendWorkspaceRequest, SuspendWorkspaceResponse, Token, TokenPolicy, UpdateTokenPolicyRequest,
        UpdateTokenPolicyResponse, VerifyRequest, VerifyResponse, Workspace,
    },
};

use crate::{Finished, Process, eventually};

/// A running `tokend serve`. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    process: Process,
    ready: serde_json::Value,
    admin_key: String,
    admin: Client,
    tls: Tls,
}

/// A token that was just issued, or the key of a caller that was just made.
#[derive(Clone)]
pub struct Issued<T> {
    /// What everybody may know of it.
    pub public: T,
    /// Its secret.
    pub secret: String,
}

impl Server {
    /// Waits until the process has written its ready file.
    pub(crate) async fn start(mut process: Process, ready_file: &Path, admin_key: &str, tls: &Tls) -> Self {
        let ready = eventually("the server serves", async || {
            // Its output is printed with the panic.
            assert!(process.is_running(), "the server has ended");
            serde_json::from_str(&fs::read_to_string(ready_file).ok()?).ok()
        });
        let ready: serde_json::Value = ready.await;
        let admin = connect(address(&ready, "grpc_address"), admin_key, tls).await;
        Self { process, ready, admin_key: admin_key.to_owned(), admin, tls: tls.clone() }
    }

    /// Where it answers gRPC.
    #[must_use]
    pub fn grpc_address(&self) -> &str {
        address(&self.ready, "grpc_address")
    }

    /// Where it answers those who operate it.
    #[must_use]
    pub fn ops_address(&self) -> &str {
        address(&self.ready, "ops_address")
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGTERM, and how it then ended.
    pub async fn stop(self) -> Finished {
        self.process.terminate();
        self.finish().await
    }

    /// How it ended by itself.
    pub async fn finish(self) -> Finished {
        self.process.finish().await
    }

    /// A crash.
    pub fn kill(self) {
        self.process.kill();
    }

    /// The key of the first caller.
    #[must_use]
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// The first caller, who may do everything.
    #[must_use]
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// Whoever has this key, on a connection of their own.
    pub async fn client(&self, key: &str) -> Client {
        connect(self.grpc_address(), key, &self.tls).await
    }

    /// Makes a caller for all workspaces, with a key.
    ///
    /// # Panics
    /// If that fails, like everything below.
    pub async fn caller(&self, id: &str, role: Role) -> Issued<String> {
        let request = CreateCallerRequest {
            caller_id: id.to_owned(),
            role: role.into(),
            workspaces: Some(Selection { all: true, only: Vec::new() }),
            ..Default::default()
        };
        self.caller_as(request).await
    }

    /// Makes a caller as described, with a key; the public part is the key's name.
    pub async fn caller_as(&self, request: CreateCallerRequest) -> Issued<String> {
        let made = self.admin.caller_admin().create_caller(request).await.expect("a caller is made");
        let request = CreateCallerKeyRequest { parent: made.into_inner().caller.expect("it is told").name, ttl: None };
        let made = self.admin.caller_admin().create_caller_key(request).await.expect("a key is made").into_inner();
        Issued { public: made.key.expect("it is told").name, secret: made.secret }
    }

    /// Makes a workspace and returns its name.
    pub async fn workspace(&self, id: &str) -> String {
        self.workspace_in(id, "").await
    }

    /// Makes a workspace of the organization of that name and returns its name.
    pub async fn workspace_in(&self, id: &str, organization: &str) -> String {
        let request = CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            display_name: id.to_uppercase(),
            organization: organization.to_owned(),
        };
        let made = self.admin.workspace_admin().create_workspace(request).await.expect("a workspace is made");
        made.into_inner().workspace.expect("it is told").name
    }

    /// Makes an organization and returns its name.
    pub async fn organization(&self, id: &str) -> String {
        let request = CreateOrganizationRequest { organization_id: id.to_owned(), display_name: id.to_uppercase() };
        let made = self.admin.workspace_admin().create_organization(request).await.expect("an organization is made");
        made.into_inner().organization.expect("it is told").name
    }

    /// The workspace as it is now.
    pub async fn get_workspace(&self, name: &str) -> Workspace {
        let request = GetWorkspaceRequest { name: name.to_owned() };
        let got = self.admin.workspace_admin().get_workspace(request).await.expect("it is there");
        got.into_inner().workspace.expect("it is told")
    }

    /// Suspends a workspace.
    pub async fn suspend(&self, name: &str) -> SuspendWorkspaceResponse {
        let request = SuspendWorkspaceRequest { name: name.to_owned(), no_wait: false };
        self.admin.workspace_admin().suspend_workspace(request).await.expect("it is suspended").into_inner()
    }

    /// Resumes a workspace.
    pub async fn resume(&self, name: &str) -> ResumeWorkspaceResponse {
        let request = ResumeWorkspaceRequest { name: name.to_owned() };
        self.admin.workspace_admin().resume_workspace(request).await.expect("it is resumed").into_inner()
    }

    /// Deletes a workspace.
    pub async fn delete_workspace(&self, name: &str) -> DeleteWorkspaceResponse {
        let request = DeleteWorkspaceRequest { name: name.to_owned(), no_wait: false };
        self.admin.workspace_admin().delete_workspace(request).await.expect("it is deleted").into_inner()
    }

    /// The token policy of an organization or workspace, and what binds a workspace's tokens.
    pub async fn get_policy(&self, owner: &str) -> GetTokenPolicyResponse {
        let request = GetTokenPolicyRequest { name: format!("{owner}/tokenPolicy") };
        self.admin.workspace_admin().get_token_policy(request).await.expect("it is told").into_inner()
    }

    /// Sets a token policy.
    pub async fn set_policy(&self, policy: TokenPolicy) -> UpdateTokenPolicyResponse {
        let request = UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() };
        self.admin.workspace_admin().update_token_policy(request).await.expect("it is set").into_inner()
    }

    /// Makes a token.
    pub async fn token(&self, request: CreateTokenRequest) -> Issued<Token> {
        let made = self.admin.token_admin().create_token(request).await.expect("a token is made").into_inner();
        Issued { public: made.token.expect("it is told"), secret: made.secret }
    }

    /// The token as it is now, as every answer tells it: GetToken alone tells unused scopes.
    pub async fn get_token(&self, name: &str) -> Token {
        Token { unused_scopes: Vec::new(), ..self.get_token_with_unused_scopes(name).await }
    }

    /// The token as it is now.
    pub async fn get_token_with_unused_scopes(&self, name: &str) -> Token {
        let request = GetTokenRequest { name: name.to_owned() };
        let got = self.admin.token_admin().get_token(request).await.expect("it is there");
        got.into_inner().token.expect("it is told")
    }

    /// Revokes a token.
    pub async fn revoke(&self, name: &str) -> RevokeTokenResponse {
        let request = RevokeTokenRequest { name: name.to_owned(), reason: "it leaked".to_owned(), no_wait: false };
        self.admin.token_admin().revoke_token(request).await.expect("it is revoked").into_inner()
    }

    /// The verdict.
    pub async fn verdict(&self, question: VerifyRequest) -> VerifyResponse {
        self.admin.token_verify().verify(question).await.expect("there is a verdict").into_inner()
    }
}

fn address<'a>(ready: &'a serde_json::Value, name: &str) -> &'a str {
    ready[name].as_str().unwrap_or_else(|| panic!("the ready file has no {name}: {ready}"))
}

async fn connect(address: &str, key: &str, tls: &Tls) -> Client {
    let key = CallerKey::new(key).expect("the key can be sent");
    Client::connect_with(address, Some(&key), tls).await.unwrap_or_else(|error| panic!("{error}"))
}

//! The RPCs with which clients change something.

use std::time::Duration;

use tokend_client::{
    CallerKey,
    v1::{
        BatchRevokeTokensRequest, DeleteCallerRequest, DeleteWorkspaceRequest, ResumeWorkspaceRequest, Revision,
        RevokeCallerKeyRequest, RevokeLeakedTokensRequest, RevokeTokenRequest, RotateTokenRequest,
        SuspendWorkspaceRequest, Token, TokenPolicy, UpdateTokenPolicyRequest, caller_admin_client::CallerAdminClient,
        revoke_leaked_tokens_request::Leak, revoke_leaked_tokens_response::Label, token_admin_client::TokenAdminClient,
        workspace_admin_client::WorkspaceAdminClient,
    },
};
use tonic::{Code, Status, service::interceptor::InterceptedService, transport::Channel};

/// A request that ends something, or that undoes the end.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Revoke {
        name: String,
    },
    BatchRevoke {
        parent: String,
        names: Vec<String>,
    },
    BatchRevokeGroup {
        parent: String,
        group: String,
    },
    RevokeLeaked {
        secrets: Vec<String>,
    },
    Rotate {
        name: String,
        overlap: Duration,
        request_id: String,
    },
    Suspend {
        name: String,
    },
    Resume {
        name: String,
    },
    Delete {
        name: String,
    },
    SetPolicy(TokenPolicy),
    RevokeKey {
        name: String,
    },
    DeleteCaller {
        name: String,
    },
}

/// The answer to a change that holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) revision: Option<Revision>,
    /// The successor of a rotated token, and its secret. A repeat has no secret.
    pub(crate) successor: Option<(Token, String)>,
}

impl From<Option<Revision>> for Done {
    fn from(revision: Option<Revision>) -> Self {
        Self {
            revision,
            successor: None,
        }
    }
}

impl Call {
    pub(crate) fn rpc(&self) -> &'static str {
        match self {
            Self::Revoke { .. } => "RevokeToken",
            Self::BatchRevoke { .. } | Self::BatchRevokeGroup { .. } => "BatchRevokeTokens",
            Self::RevokeLeaked { .. } => "RevokeLeakedTokens",
            Self::Rotate { .. } => "RotateToken",
            Self::Suspend { .. } => "SuspendWorkspace",
            Self::Resume { .. } => "ResumeWorkspace",
            Self::Delete { .. } => "DeleteWorkspace",
            Self::SetPolicy(_) => "UpdateTokenPolicy",
            Self::RevokeKey { .. } => "RevokeCallerKey",
            Self::DeleteCaller { .. } => "DeleteCaller",
        }
    }

    /// Sends the request.
    pub(crate) async fn send(&self, line: Channel, key: &CallerKey, no_wait: bool) -> Result<Done, Status> {
        let line = InterceptedService::new(line, key.clone());
        match self {
            Self::Revoke { .. }
            | Self::BatchRevoke { .. }
            | Self::BatchRevokeGroup { .. }
            | Self::RevokeLeaked { .. }
            | Self::Rotate { .. } => self.send_to_tokens(TokenAdminClient::new(line), no_wait).await,
            Self::Suspend { .. } | Self::Resume { .. } | Self::Delete { .. } | Self::SetPolicy(_) => {
                self.send_to_workspaces(WorkspaceAdminClient::new(line), no_wait).await
            }
            Self::RevokeKey { .. } | Self::DeleteCaller { .. } => {
                self.send_to_callers(CallerAdminClient::new(line), no_wait).await
            }
        }
    }

    async fn send_to_tokens(
        &self,
        mut client: TokenAdminClient<InterceptedService<Channel, CallerKey>>,
        no_wait: bool,
    ) -> Result<Done, Status> {
        let reason = "the harness".to_owned();
        match self {
            Self::Revoke { name } => {
                let request = RevokeTokenRequest {
                    name: name.clone(),
                    reason,
                    no_wait,
                };
                Ok(client.revoke_token(request).await?.into_inner().revision.into())
            }
            Self::BatchRevoke { parent, names } => {
                let request = BatchRevokeTokensRequest {
                    parent: parent.clone(),
                    names: names.clone(),
                    reason,
                    no_wait,
                    ..Default::default()
                };
                batch_revoke(&mut client, request).await
            }
            Self::BatchRevokeGroup { parent, group } => {
                let request = BatchRevokeTokensRequest {
                    parent: parent.clone(),
                    filter: format!("labels.group = {group}"),
                    reason,
                    no_wait,
                    ..Default::default()
                };
                batch_revoke(&mut client, request).await
            }
            Self::RevokeLeaked { secrets } => {
                let leak = |secret: &String| Leak {
                    secret: secret.clone(),
                    ..Default::default()
                };
                let request = RevokeLeakedTokensRequest {
                    leaks: secrets.iter().map(leak).collect(),
                    no_wait,
                };
                let response = client.revoke_leaked_tokens(request).await?.into_inner();
                let is_ours = response
                    .results
                    .iter()
                    .all(|result| result.label() == Label::TruePositive);
                assert!(is_ours, "every leaked token is recognized: {response:?}");
                Ok(response.revision.into())
            }
            Self::Rotate {
                name,
                overlap,
                request_id,
            } => {
                let overlap = (*overlap).try_into().expect("the span is a valid duration");
                let request = RotateTokenRequest {
                    name: name.clone(),
                    overlap: Some(overlap),
                    request_id: request_id.clone(),
                    no_wait,
                    ..Default::default()
                };
                let response = client.rotate_token(request).await?.into_inner();
                Ok(Done {
                    revision: response.revision,
                    successor: response.token.map(|token| (token, response.secret)),
                })
            }
            _ => unreachable!("a call to another service"),
        }
    }

    async fn send_to_workspaces(
        &self,
        mut client: WorkspaceAdminClient<InterceptedService<Channel, CallerKey>>,
        no_wait: bool,
    ) -> Result<Done, Status> {
        let revision = match self {
            Self::Suspend { name } => {
                let request = SuspendWorkspaceRequest {
                    name: name.clone(),
                    no_wait,
                };
                client.suspend_workspace(request).await?.into_inner().revision
            }
            Self::Resume { name } => {
                let request = ResumeWorkspaceRequest { name: name.clone() };
                client.resume_workspace(request).await?.into_inner().revision
            }
            Self::Delete { name } => {
                let request = DeleteWorkspaceRequest {
                    name: name.clone(),
                    no_wait,
                };
                client.delete_workspace(request).await?.into_inner().revision
            }
            Self::SetPolicy(policy) => {
                let request = UpdateTokenPolicyRequest {
                    policy: Some(policy.clone()),
                    no_wait,
                    ..Default::default()
                };
                client.update_token_policy(request).await?.into_inner().revision
            }
            _ => unreachable!("a call to another service"),
        };
        Ok(revision.into())
    }

    async fn send_to_callers(
        &self,
        mut client: CallerAdminClient<InterceptedService<Channel, CallerKey>>,
        no_wait: bool,
    ) -> Result<Done, Status> {
        let answer = match self {
            Self::RevokeKey { name } => {
                let request = RevokeCallerKeyRequest {
                    name: name.clone(),
                    no_wait,
                };
                let answer = client.revoke_caller_key(request).await;
                answer.map(|response| response.into_inner().revision)
            }
            Self::DeleteCaller { name } => {
                let request = DeleteCallerRequest {
                    name: name.clone(),
                    no_wait,
                };
                let answer = client.delete_caller(request).await;
                answer.map(|response| response.into_inner().revision)
            }
            _ => unreachable!("a call to another service"),
        };
        match answer {
            // It existed. That it is gone already is a promise, too.
            Err(status) if status.code() == Code::NotFound => Ok(Done::default()),
            answer => Ok(answer?.into()),
        }
    }
}

async fn batch_revoke(
    client: &mut TokenAdminClient<InterceptedService<Channel, CallerKey>>,
    request: BatchRevokeTokensRequest,
) -> Result<Done, Status> {
    let response = client.batch_revoke_tokens(request).await?.into_inner();
    if response.remaining_count > 0 {
        return Err(Status::aborted("some tokens are left"));
    }
    Ok(response.revision.into())
}

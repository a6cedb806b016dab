use std::sync::Arc;

use tokend_core::{
    time::Timestamp,
    token::usage::{Usage, unused_scopes},
    token::{Token, TokenContext},
};
use tokend_proto::{
    request::{
        bulk::BatchRevokeTokens,
        leaks::RevokeLeakedTokens,
        rotate_token::RotateToken,
        token_admin::{CreateToken, GetToken, IdentifyToken, ListTokens, RevokeToken},
    },
    v1,
    view::{TokenView, leak_message, scopes_message, secret_text},
};
use tokend_store::{StoredToken, TimeCursor, TokenCursor, TokenPage};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    auth::{CallContext, authorize_filter, authorize_token, authorize_workspace},
    error::ServiceError,
    grpc::call::authenticated,
    grpc::paging::{List, fit},
    usecases::{
        Context,
        tokens::{
            batch_revoke::{self, Revoked},
            create, read, revoke, revoke_leaked,
            rotate::{self, Replaced},
        },
    },
};

/// Creates, lists, rotates and revokes tokens.
#[derive(Debug)]
pub(crate) struct TokenAdminService(pub(crate) Arc<Context>);

#[async_trait]
impl v1::token_admin_server::TokenAdmin for TokenAdminService {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_workspace(&call.caller, &message.parent)?;
        let request = CreateToken::from_message(message, &self.0.catalog).map_err(ServiceError::from)?;
        let created = create::create(&self.0, call, request).await?;
        let token = self.message(&created.stored);
        let token = if created.would_be_new {
            v1::Token {
                name: String::new(),
                hint: String::new(),
                ..token
            }
        } else {
            token
        };
        let secret = created.secret.as_ref().map(secret_text).unwrap_or_default();
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(token),
            secret,
        }))
    }

    async fn get_token(&self, request: Request<v1::GetTokenRequest>) -> Result<Response<v1::GetTokenResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        authorize_token(&caller, &message.name)?;
        let request = GetToken::from_message(&message).map_err(ServiceError::from)?;
        let stored = read::get(&self.0, request).await?;
        let unused = unused_scopes(&stored.token.scopes, stored.usage.as_ref(), &self.0.catalog);
        let token = v1::Token {
            unused_scopes: unused.map(ToString::to_string).collect(),
            ..self.message(&stored)
        };
        Ok(Response::new(v1::GetTokenResponse { token: Some(token) }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        authorize_workspace(&caller, &message.parent)?;
        let ListTokens {
            workspace,
            filter,
            page,
        } = ListTokens::from_message(message).map_err(ServiceError::from)?;
        let (parent, asked) = (
            workspace.name(),
            filter.as_ref().map(ToString::to_string).unwrap_or_default(),
        );
        let keys = self.0.store.keys();
        let list = List {
            ring: &keys,
            caller: &caller,
            rpc: "ListTokens",
            parent: &parent,
            filter: &asked,
        };
        let after = list
            .position(&page, TokenCursor::from_bytes)
            .map_err(ServiceError::from)?;
        let page = read::list(&self.0, workspace, filter, after, page.size).await?;
        let total_size = i64::try_from(page.total_size).unwrap_or(i64::MAX);
        let (tokens, next) = self.fitting(page);
        let next_page_token = list.next_page_token(next.map(|next| next.to_bytes()).as_deref());
        Ok(Response::new(v1::ListTokensResponse {
            tokens,
            next_page_token,
            total_size,
        }))
    }

    async fn rotate_token(
        &self,
        request: Request<v1::RotateTokenRequest>,
    ) -> Result<Response<v1::RotateTokenResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_token(&call.caller, &message.name)?;
        let request = RotateToken::from_message(message).map_err(ServiceError::from)?;
        let Replaced {
            predecessor,
            successor,
            secret,
            revision,
        } = rotate::rotate(&self.0, call, request).await?;
        Ok(Response::new(v1::RotateTokenResponse {
            token: Some(self.message(&successor)),
            secret: secret.as_ref().map(secret_text).unwrap_or_default(),
            predecessor: Some(self.message(&predecessor)),
            revision: Some(revision.into()),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_token(&call.caller, &message.name)?;
        let request = RevokeToken::from_message(message).map_err(ServiceError::from)?;
        let (stored, revision) = revoke::revoke(&self.0, call, request).await?;
        Ok(Response::new(v1::RevokeTokenResponse {
            token: Some(self.message(&stored)),
            revision: Some(revision.into()),
        }))
    }

    async fn batch_revoke_tokens(
        &self,
        request: Request<v1::BatchRevokeTokensRequest>,
    ) -> Result<Response<v1::BatchRevokeTokensResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_workspace(&call.caller, &message.parent)?;
        authorize_filter(&call.caller, &message.filter)?;
        let request = BatchRevokeTokens::from_message(message).map_err(ServiceError::from)?;
        let Revoked {
            tokens: revoked,
            remaining,
            revision,
        } = batch_revoke::revoke(&self.0, call, request).await?;
        let (tokens, _) = fit(revoked.iter().map(|stored| self.message(stored)));
        Ok(Response::new(v1::BatchRevokeTokensResponse {
            revoked_count: i32::try_from(revoked.len()).unwrap_or(i32::MAX),
            remaining_count: i32::try_from(remaining).unwrap_or(i32::MAX),
            tokens,
            revision: revision.map(Into::into),
        }))
    }

    async fn revoke_leaked_tokens(
        &self,
        request: Request<v1::RevokeLeakedTokensRequest>,
    ) -> Result<Response<v1::RevokeLeakedTokensResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = RevokeLeakedTokens::from_message(message).map_err(ServiceError::from)?;
        let (findings, revision) = revoke_leaked::revoke_leaked(&self.0, call, request).await?;
        let results = findings.iter().map(|findings| leak_message(findings)).collect();
        Ok(Response::new(v1::RevokeLeakedTokensResponse {
            results,
            revision: Some(revision.into()),
        }))
    }

    async fn identify_token(
        &self,
        request: Request<v1::IdentifyTokenRequest>,
    ) -> Result<Response<v1::IdentifyTokenResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let stored = read::identify(&self.0, &call, IdentifyToken::from_message(message)).await?;
        Ok(Response::new(v1::IdentifyTokenResponse {
            token: Some(self.message(&stored)),
        }))
    }

    async fn list_scopes(
        &self,
        request: Request<v1::ListScopesRequest>,
    ) -> Result<Response<v1::ListScopesResponse>, Status> {
        let (_, v1::ListScopesRequest {}) = authenticated(request)?;
        Ok(Response::new(scopes_message(&self.0.catalog)))
    }
}

impl TokenAdminService {
    /// Returns as much of a page as an answer can hold, and the place where the next one starts.
    fn fitting(&self, page: TokenPage) -> (Vec<v1::Token>, Option<TokenCursor>) {
        let TokenPage {
            tokens,
            usage,
            next,
            total_size,
            token_context,
            now,
        } = page;
        // The store has logged rows that can't be read. They do not keep others from being listed.
        let readable: Vec<_> = tokens.into_iter().flatten().collect();
        let view = |token: &Token| self.view(token, usage.get(&token.name.id), &token_context, now);
        let (tokens, was_cut) = fit(readable.iter().map(view));
        let last = readable.get(tokens.len().wrapping_sub(1)).filter(|_| was_cut);
        let next = last
            .map(|last| TimeCursor::new(last.create_time, last.name.id))
            .or(next);
        (tokens, next.map(|cursor| TokenCursor { cursor, total_size }))
    }

    fn message(&self, stored: &StoredToken) -> v1::Token {
        let StoredToken {
            token,
            usage,
            token_context,
            now,
        } = stored;
        self.view(token, usage.as_ref(), token_context, *now)
    }

    fn view(&self, token: &Token, usage: Option<&Usage>, token_context: &TokenContext, now: Timestamp) -> v1::Token {
        TokenView {
            token,
            usage,
            token_context,
            now,
            prefix: self.0.store.keys().prefix(),
        }
        .into()
    }
}

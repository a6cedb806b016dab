use std::sync::Arc;

use tokend_core::caller::CallerKey;
use tokend_proto::{
    request::caller_admin::{
        CreateCaller, CreateCallerKey, DeleteCaller, GetCaller, ListCallerKeys, ListCallers, RevokeCallerKey,
    },
    v1,
    view::{caller_key_message, caller_message, secret_text},
};
use tokend_store::{CallerKeyPage, TimeCursor};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    auth::CallContext,
    error::ServiceError,
    grpc::call::authenticated,
    grpc::paging::{List, fit, id_position},
    usecases::{
        Context,
        callers::{self, StoredKey},
    },
};

/// Creates, lists and deletes callers and their keys.
#[derive(Debug)]
pub(crate) struct CallerAdminService(pub(crate) Arc<Context>);

#[async_trait]
impl v1::caller_admin_server::CallerAdmin for CallerAdminService {
    async fn create_caller(
        &self,
        request: Request<v1::CreateCallerRequest>,
    ) -> Result<Response<v1::CreateCallerResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = CreateCaller::from_message(message).map_err(ServiceError::from)?;
        let caller = callers::create(&self.0, call, request).await?;
        Ok(Response::new(v1::CreateCallerResponse {
            caller: Some(caller_message(caller, None)),
        }))
    }

    async fn get_caller(
        &self,
        request: Request<v1::GetCallerRequest>,
    ) -> Result<Response<v1::GetCallerResponse>, Status> {
        let (_, message) = authenticated(request)?;
        let GetCaller { id } = GetCaller::from_message(&message).map_err(ServiceError::from)?;
        let (caller, until) = callers::get(&self.0, id).await?;
        Ok(Response::new(v1::GetCallerResponse {
            caller: Some(caller_message(caller, until)),
        }))
    }

    async fn list_callers(
        &self,
        request: Request<v1::ListCallersRequest>,
    ) -> Result<Response<v1::ListCallersResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        let ListCallers { page } = ListCallers::from_message(message).map_err(ServiceError::from)?;
        let keys = self.0.store.keys();
        let list = List {
            ring: &keys,
            caller: &caller,
            rpc: "ListCallers",
            parent: "",
            filter: "",
        };
        let after = list.position(&page, id_position).map_err(ServiceError::from)?;
        let (stored, next) = callers::list(&self.0, after, page.size).await?;
        let ids: Vec<_> = stored.iter().map(|(caller, _)| caller.id.to_string()).collect();
        let (callers, was_cut) = fit(stored.into_iter().map(|(caller, until)| caller_message(caller, until)));
        let next = ids
            .get(callers.len().wrapping_sub(1))
            .filter(|_| was_cut)
            .cloned()
            .or(next);
        let next_page_token = list.next_page_token(next.as_deref().map(str::as_bytes));
        Ok(Response::new(v1::ListCallersResponse {
            callers,
            next_page_token,
        }))
    }

    async fn list_caller_keys(
        &self,
        request: Request<v1::ListCallerKeysRequest>,
    ) -> Result<Response<v1::ListCallerKeysResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        let ListCallerKeys { caller: parent, page } =
            ListCallerKeys::from_message(message).map_err(ServiceError::from)?;
        let parent_name = parent.name();
        let keys = self.0.store.keys();
        let list = List {
            ring: &keys,
            caller: &caller,
            rpc: "ListCallerKeys",
            parent: &parent_name,
            filter: "",
        };
        let after = list
            .position(&page, TimeCursor::from_bytes)
            .map_err(ServiceError::from)?;
        let CallerKeyPage {
            keys,
            last_uses,
            next,
            now,
        } = callers::list_keys(&self.0, parent, after, page.size).await?;
        // The store has logged rows that can't be read. They do not keep others from being listed.
        let seen = |key: CallerKey| StoredKey {
            last_use: last_uses.get(&key.name.id).copied(),
            key,
            now,
        };
        let keys = keys.into_iter().flatten().map(|key| self.message(&seen(key))).collect();
        let next_page_token = list.next_page_token(next.map(|next| next.to_bytes()).as_deref());
        Ok(Response::new(v1::ListCallerKeysResponse { keys, next_page_token }))
    }

    async fn delete_caller(
        &self,
        request: Request<v1::DeleteCallerRequest>,
    ) -> Result<Response<v1::DeleteCallerResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = DeleteCaller::from_message(&message).map_err(ServiceError::from)?;
        let (caller, revision) = callers::delete(&self.0, call, request).await?;
        Ok(Response::new(v1::DeleteCallerResponse {
            caller: Some(caller_message(caller, None)),
            revision: Some(revision.into()),
        }))
    }

    async fn create_caller_key(
        &self,
        request: Request<v1::CreateCallerKeyRequest>,
    ) -> Result<Response<v1::CreateCallerKeyResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = CreateCallerKey::from_message(&message).map_err(ServiceError::from)?;
        let (key, secret) = callers::create_key(&self.0, call, request).await?;
        Ok(Response::new(v1::CreateCallerKeyResponse {
            key: Some(self.message(&key)),
            secret: secret_text(&secret),
        }))
    }

    async fn revoke_caller_key(
        &self,
        request: Request<v1::RevokeCallerKeyRequest>,
    ) -> Result<Response<v1::RevokeCallerKeyResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = RevokeCallerKey::from_message(&message).map_err(ServiceError::from)?;
        let (key, revision) = callers::revoke_key(&self.0, call, request).await?;
        Ok(Response::new(v1::RevokeCallerKeyResponse {
            key: Some(self.message(&key)),
            revision: Some(revision.into()),
        }))
    }
}

impl CallerAdminService {
    fn message(&self, StoredKey { key, last_use, now }: &StoredKey) -> v1::CallerKey {
        caller_key_message(key, *last_use, *now, self.0.store.keys().prefix())
    }
}

//! Reads back the results of requests that consist of a name.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    DeleteCallerRequest, DeleteCallerResponse, GetCallerRequest, GetCallerResponse, GetTokenRequest, GetTokenResponse,
    GetWorkspaceRequest, GetWorkspaceResponse, RevokeCallerKeyRequest, RevokeCallerKeyResponse, RevokeTokenRequest,
    RevokeTokenResponse, caller_key, token,
};
use tonic::Code;

use crate::{
    case::Case,
    pasted::cut,
    run::{World, same},
    values::Values,
};

pub(crate) const GET_TOKEN: &str = "TokenAdmin/GetToken";

pub(crate) const REVOKE_TOKEN: &str = "TokenAdmin/RevokeToken";

pub(crate) const GET_WORKSPACE: &str = "WorkspaceAdmin/GetWorkspace";

pub(crate) const GET_CALLER: &str = "CallerAdmin/GetCaller";

pub(crate) const DELETE_CALLER: &str = "CallerAdmin/DeleteCaller";

pub(crate) const REVOKE_KEY: &str = "CallerAdmin/RevokeCallerKey";

/// Tokens to revoke: one for each accepted row.
pub(crate) const VICTIMS: usize = 95;

pub(crate) async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let (server, request) = (&world.server, request.clone());
    match *rpc {
        GET_TOKEN => {
            let token = GetTokenResponse::decode(answer)
                .expect("the response decodes")
                .token
                .ok_or("the response lacks the resource")?;
            let asked = GetTokenRequest::decode(request).expect("the request decodes").name;
            same("the token", (token.state(), token.name), (token::State::Active, asked))
        }
        REVOKE_TOKEN => {
            let RevokeTokenResponse { token, revision } =
                RevokeTokenResponse::decode(answer).expect("the response decodes");
            let token = token.ok_or("the response lacks the resource")?;
            let asked = RevokeTokenRequest::decode(request).expect("the request decodes");
            same("the name", &token.name, &asked.name)?;
            same(
                "the reason",
                &token.revoke_reason,
                &cut(&asked.reason, &world.values.token.secret),
            )?;
            same("the state", token.state(), token::State::Revoked)?;
            same("whether there is a revision", revision.is_some(), true)?;
            let name = token.name.clone();
            same("the token", server.get_token(&name).await, token)
        }
        GET_WORKSPACE => {
            let workspace = GetWorkspaceResponse::decode(answer)
                .expect("the response decodes")
                .workspace
                .ok_or("the response lacks the resource")?;
            same(
                "the name",
                workspace.name,
                GetWorkspaceRequest::decode(request).expect("the request decodes").name,
            )
        }
        GET_CALLER => {
            let caller = GetCallerResponse::decode(answer)
                .expect("the response decodes")
                .caller
                .ok_or("the response lacks the resource")?;
            same(
                "the name",
                caller.name,
                GetCallerRequest::decode(request).expect("the request decodes").name,
            )
        }
        DELETE_CALLER => {
            let DeleteCallerResponse { caller, revision } =
                DeleteCallerResponse::decode(answer).expect("the response decodes");
            let name = caller.ok_or("the response lacks the resource")?.name;
            same(
                "the name",
                &name,
                &DeleteCallerRequest::decode(request).expect("the request decodes").name,
            )?;
            same("whether there is a revision", revision.is_some(), true)?;
            let mut admin = server.admin().caller_admin();
            let gone = admin
                .get_caller(GetCallerRequest { name: name.clone() })
                .await
                .expect_err("the caller is deleted");
            same("the code of GetCaller", gone.code(), Code::NotFound)?;
            // The next row needs the name again.
            let id = name.strip_prefix("callers/").expect("the name is a caller's");
            admin
                .create_caller(Values::new_caller(id))
                .await
                .map(|_| ())
                .map_err(|status| status.to_string())
        }
        REVOKE_KEY => {
            let RevokeCallerKeyResponse { key, revision } =
                RevokeCallerKeyResponse::decode(answer).expect("the response decodes");
            let key = key.ok_or("the response lacks the resource")?;
            same(
                "the name",
                &key.name,
                &RevokeCallerKeyRequest::decode(request)
                    .expect("the request decodes")
                    .name,
            )?;
            same("the state", key.state(), caller_key::State::Revoked)?;
            same("whether there is a revision", revision.is_some(), true)
        }
        other => Err(format!("{other} has nothing to read back")),
    }
}

//! Requests of `TokenAdmin`.

use std::time::Duration;

use prost::Message;
use tokend_core::{
    address::{AllowedAddresses, MalformedNetwork, Networks, parse_network},
    credential::Secret,
    filter::TokenFilter,
    labels::Labels,
    name::{TokenName, WorkspaceId},
    request_id::{BodyDigest, Retryable},
    resource::Resource,
    scope::{GrantError, GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName, Reason},
    time::Timestamp,
};

use crate::{
    field::{FieldViolations, Fields, positive_span, time},
    request::{page::Page, token_verify::unknown_scope},
    v1,
};

/// A `CreateTokenRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// Where to make it.
    pub workspace: WorkspaceId,
    /// What to call it.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Description,
    /// What to grant.
    pub scopes: GrantedScopes,
    /// What to bind it to: the workspace or something below.
    pub resource: Resource,
    /// When it ends, if that was chosen.
    pub expiry: Option<ChosenExpiry>,
    /// Where it may be used from; from anywhere that policies allow if nothing was said of it.
    pub allowed_addresses: AllowedAddresses,
    /// How to sort it.
    pub labels: Labels,
    /// What makes the call safe to retry, if the client wants that.
    pub retry: Option<Retryable>,
    /// Whether to change nothing.
    pub validate_only: bool,
}

/// When a token is to end, as chosen at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenExpiry {
    /// This long from its creation; more than zero.
    After(Duration),
    /// At this time.
    At(Timestamp),
    /// Never by itself.
    Never,
}

/// A `GetTokenRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct GetToken {
    /// Which.
    pub name: TokenName,
}

/// A `RevokeTokenRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// Which.
    pub name: TokenName,
    /// Why.
    pub reason: Reason,
    /// Whether to answer before the token is dead everywhere.
    pub no_wait: bool,
}

/// A `ListTokensRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListTokens {
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// Which of them; all without one.
    pub filter: Option<TokenFilter>,
    /// Which page.
    pub page: Page,
}

/// An `IdentifyTokenRequest`. Whatever the secret is, it is no error of the field's.
#[derive(Debug)]
pub struct IdentifyToken {
    /// The secret as found; white space around it is ignored.
    pub secret: Secret,
}

/// What to do about a token whose end nobody chose.
const NO_EXPIRY: &str = "must be chosen: ttl, expire_time or no_expiry; no policy has a default";

impl CreateToken {
    /// What does not fit about a request that chooses no end, where no policy has a default.
    #[must_use]
    pub fn lacks_expiry() -> FieldViolations {
        FieldViolations::one("expiry", NO_EXPIRY)
    }

    /// Checks a message against the scopes that exist.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::CreateTokenRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let mut fields = Fields::default();
        let retry = retryable(&mut fields, &message);
        let v1::CreateTokenRequest {
            parent,
            display_name,
            description,
            scopes,
            resource,
            allowed_cidrs,
            labels,
            request_id: _,
            validate_only,
            expiry,
        } = message;
        let workspace = fields.check("parent", WorkspaceId::from_name(&parent));
        let display_name = fields.check("display_name", DisplayName::received(display_name));
        let description = fields.check("description", Description::received(description));
        let scopes = grant(&mut fields, &scopes, catalog);
        let resource = bound_resource(&mut fields, workspace.as_ref(), resource);
        let expiry = chosen_expiry(&mut fields, workspace.as_ref(), expiry);
        let allowed_addresses = allowed_addresses(&mut fields, &allowed_cidrs);
        let labels = fields.check("labels", Labels::received(labels));
        fields.finish((|| {
            Some(Self {
                workspace: workspace?,
                display_name: display_name?,
                description: description?,
                scopes: scopes?,
                resource: resource?,
                expiry: expiry?,
                allowed_addresses: allowed_addresses?,
                labels: labels?,
                retry: retry?,
                validate_only,
            })
        })())
    }
}

impl GetToken {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::GetTokenRequest) -> Result<Self, FieldViolations> {
        let v1::GetTokenRequest { name } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        fields.finish(name.map(|name| Self { name }))
    }
}

impl RevokeToken {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::RevokeTokenRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeTokenRequest { name, reason, no_wait } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        let reason = fields.check("reason", Reason::received_without_secrets(reason));
        fields.finish(name.zip(reason).map(|(name, reason)| Self { name, reason, no_wait }))
    }
}

impl ListTokens {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::ListTokensRequest) -> Result<Self, FieldViolations> {
        let v1::ListTokensRequest { parent, filter, page_size, page_token } = message;
        let mut fields = Fields::default();
        let workspace = fields.check("parent", WorkspaceId::from_name(&parent));
        let filter = fields.filter(&filter);
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(workspace.zip(filter).zip(page).map(|((workspace, filter), page)| Self { workspace, filter, page }))
    }
}

impl IdentifyToken {
    /// Takes the secret out of a message.
    #[must_use]
    pub fn from_message(message: v1::IdentifyTokenRequest) -> Self {
        let v1::IdentifyTokenRequest { secret } = message;
        Self { secret: Secret::new(secret) }
    }
}

fn retryable(fields: &mut Fields, message: &v1::CreateTokenRequest) -> Option<Option<Retryable>> {
    if message.request_id.is_empty() {
        return Some(None);
    }
    let id = fields.check("request_id", message.request_id.parse())?;
    // Maps are ordered by key, so that equal messages have equal encodings. A rehearsal asks for the same as the call that it rehearses.
    let body = v1::CreateTokenRequest { request_id: String::new(), validate_only: false, ..message.clone() };
    Some(Some(Retryable { id, body: BodyDigest::of(&body.encode_to_vec()) }))
}

fn grant(fields: &mut Fields, asked: &[String], catalog: &ScopeCatalog) -> Option<GrantedScopes> {
    GrantedScopes::grant(catalog, asked)
        .map_err(|error| match &error {
            GrantError::Empty => fields.refuse("scopes", "must name at least one scope"),
            GrantError::Unknown { index, .. } => fields.refuse(&format!("scopes[{index}]"), unknown_scope(&asked[*index])),
            GrantError::Duplicate { index, .. } => {
                fields.refuse(&format!("scopes[{index}]"), "names a scope that stands before it")
            }
        })
        .ok()
}

fn bound_resource(fields: &mut Fields, workspace: Option<&WorkspaceId>, resource: String) -> Option<Resource> {
    if resource.is_empty() {
        return workspace.map(Resource::workspace_itself);
    }
    let resource = fields.check("resource", Resource::new(resource))?;
    let workspace = workspace?;
    if !resource.is_in(workspace) {
        fields.refuse("resource", format_args!("must be {} or lie below it", workspace.name()));
        return None;
    }
    Some(resource)
}

fn chosen_expiry(
    fields: &mut Fields,
    workspace: Option<&WorkspaceId>,
    expiry: Option<v1::create_token_request::Expiry>,
) -> Option<Option<ChosenExpiry>> {
    match (expiry, workspace) {
        (Some(expiry), _) => chosen(fields, expiry).map(Some),
        (None, Some(_)) => Some(None),
        // Where there is no workspace, there is no policy that could have a default.
        (None, None) => {
            fields.refuse("expiry", NO_EXPIRY);
            None
        }
    }
}

/// The end that was chosen.
pub(super) fn chosen(fields: &mut Fields, expiry: v1::create_token_request::Expiry) -> Option<ChosenExpiry> {
    use v1::create_token_request::Expiry;
    match expiry {
        Expiry::Ttl(ttl) => fields.check("ttl", positive_span(&ttl)).map(ChosenExpiry::After),
        Expiry::ExpireTime(at) => fields.check("expire_time", time(&at)).map(ChosenExpiry::At),
        Expiry::NoExpiry(true) => Some(ChosenExpiry::Never),
        Expiry::NoExpiry(false) => {
            fields.refuse("no_expiry", "must be true where it is chosen; choose ttl or expire_time for a token that ends");
            None
        }
    }
}

fn allowed_addresses(fields: &mut Fields, cidrs: &[String]) -> Option<AllowedAddresses> {
    if cidrs.is_empty() {
        return Some(AllowedAddresses::Any);
    }
    if cidrs.len() > Networks::MAX {
        fields.refuse("allowed_cidrs", format_args!("must list at most {} networks, it lists {}", Networks::MAX, cidrs.len()));
        return None;
    }
    let parse = |text: &String| parse_network(text).map_err(|error: MalformedNetwork| format!("must be a network: {error}"));
    let networks = fields.check_each("allowed_cidrs", cidrs, parse)?;
    fields.refuse_repeated("allowed_cidrs", &networks);
    Networks::new(networks).map(AllowedAddresses::Only)
}

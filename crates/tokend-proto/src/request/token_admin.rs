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
    field::{Checked, FieldViolations, Fields, Invalid, positive_span, time},
    request::{page::Page, token_verify::unknown_scope},
    v1,
};

/// A validated `CreateTokenRequest`.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// The workspace to create the token in.
    pub workspace: WorkspaceId,
    /// The name to show to people.
    pub display_name: DisplayName,
    /// What the token is used for.
    pub description: Description,
    /// The scopes to grant.
    pub scopes: GrantedScopes,
    /// The resource to bind the token to: the workspace or something below it.
    pub resource: Resource,
    /// When the token expires, if that was chosen.
    pub expiry: Option<ChosenExpiry>,
    /// The networks that the token may be used from. If none were chosen, policies may limit them.
    pub allowed_addresses: AllowedAddresses,
    /// Labels by which people sort their tokens.
    pub labels: Labels,
    /// What makes the call safe to retry, if the client asked for that.
    pub retry: Option<Retryable>,
    /// Whether to change nothing.
    pub validate_only: bool,
}

/// The chosen expiry of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenExpiry {
    /// This long after its creation; more than zero.
    After(Duration),
    /// At this time.
    At(Timestamp),
    /// Never.
    Never,
}

/// A validated `GetTokenRequest`.
#[derive(Clone, Debug)]
pub struct GetToken {
    /// The token.
    pub name: TokenName,
}

/// A validated `RevokeTokenRequest`.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// The token.
    pub name: TokenName,
    /// The reason.
    pub reason: Reason,
    /// Whether to respond before the token stops working everywhere.
    pub no_wait: bool,
}

/// A validated `ListTokensRequest`.
#[derive(Clone, Debug)]
pub struct ListTokens {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Selects tokens; `None` for all.
    pub filter: Option<TokenFilter>,
    /// The page.
    pub page: Page,
}

/// A validated `IdentifyTokenRequest`. No secret is invalid.
#[derive(Debug)]
pub struct IdentifyToken {
    /// The secret as it was found. Surrounding white space is ignored.
    pub secret: Secret,
}

/// What to do if no expiry was chosen.
const NO_EXPIRY: &str = "must be set: ttl, expire_time or no_expiry; no policy has a default";

impl CreateToken {
    /// Returns the violation if no expiry was chosen and no policy has a default.
    #[must_use]
    pub fn lacks_expiry() -> FieldViolations {
        FieldViolations::one("expiry", NO_EXPIRY)
    }

    /// Validates a message against the scopes of the catalog.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
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
        let resource = bound_resource(&mut fields, workspace.as_ref().ok(), resource);
        let expiry = chosen_expiry(&mut fields, workspace.as_ref().ok(), expiry);
        let allowed_addresses = allowed_addresses(&mut fields, &allowed_cidrs);
        let labels = fields.check("labels", Labels::received(labels));
        fields.finish(|| {
            Ok(Self {
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
        })
    }
}

impl GetToken {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::GetTokenRequest) -> Result<Self, FieldViolations> {
        let v1::GetTokenRequest { name } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        fields.finish(|| Ok(Self { name: name? }))
    }
}

impl RevokeToken {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::RevokeTokenRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeTokenRequest { name, reason, no_wait } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        let reason = fields.check("reason", Reason::received_without_secrets(reason));
        fields.finish(|| {
            Ok(Self {
                name: name?,
                reason: reason?,
                no_wait,
            })
        })
    }
}

impl ListTokens {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::ListTokensRequest) -> Result<Self, FieldViolations> {
        let v1::ListTokensRequest {
            parent,
            filter,
            page_size,
            page_token,
        } = message;
        let mut fields = Fields::default();
        let workspace = fields.check("parent", WorkspaceId::from_name(&parent));
        let filter = fields.filter(&filter);
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| {
            Ok(Self {
                workspace: workspace?,
                filter: filter?,
                page: page?,
            })
        })
    }
}

impl IdentifyToken {
    /// Takes the secret from the message. Nothing about it is invalid.
    #[must_use]
    pub fn from_message(message: v1::IdentifyTokenRequest) -> Self {
        let v1::IdentifyTokenRequest { secret } = message;
        Self {
            secret: Secret::new(secret),
        }
    }
}

fn retryable(fields: &mut Fields, message: &v1::CreateTokenRequest) -> Checked<Option<Retryable>> {
    if message.request_id.is_empty() {
        return Ok(None);
    }
    let id = fields.check("request_id", message.request_id.parse())?;
    // Maps are ordered by key, so that equal messages have equal encodings. A call with `validate_only` has the same
    // digest as the call without it.
    let body = v1::CreateTokenRequest {
        request_id: String::new(),
        validate_only: false,
        ..message.clone()
    };
    Ok(Some(Retryable {
        id,
        body: BodyDigest::of(&body.encode_to_vec()),
    }))
}

fn grant(fields: &mut Fields, asked: &[String], catalog: &ScopeCatalog) -> Checked<GrantedScopes> {
    GrantedScopes::grant(catalog, asked).map_err(|error| match &error {
        GrantError::Empty => fields.refuse("scopes", "must name at least one scope"),
        GrantError::Unknown { index, .. } => fields.refuse(&format!("scopes[{index}]"), unknown_scope(&asked[*index])),
        GrantError::Duplicate { index, .. } => {
            fields.refuse(&format!("scopes[{index}]"), "must not repeat an earlier scope")
        }
    })
}

/// Validates the resource, or returns the workspace itself. Without a `workspace`, the field `parent` is invalid.
fn bound_resource(fields: &mut Fields, workspace: Option<&WorkspaceId>, resource: String) -> Checked<Resource> {
    if resource.is_empty() {
        return workspace.map(Resource::workspace_itself).ok_or(Invalid);
    }
    let resource = fields.check("resource", Resource::new(resource))?;
    let workspace = workspace.ok_or(Invalid)?;
    if !resource.is_in(workspace) {
        return Err(fields.refuse("resource", format_args!("must be {} or lie below it", workspace.name())));
    }
    Ok(resource)
}

fn chosen_expiry(
    fields: &mut Fields,
    workspace: Option<&WorkspaceId>,
    expiry: Option<v1::create_token_request::Expiry>,
) -> Checked<Option<ChosenExpiry>> {
    match (expiry, workspace) {
        (Some(expiry), _) => chosen(fields, expiry).map(Some),
        (None, Some(_)) => Ok(None),
        // Without a workspace there is no policy that could have a default.
        (None, None) => Err(fields.refuse("expiry", NO_EXPIRY)),
    }
}

/// Validates the chosen expiry.
pub(super) fn chosen(fields: &mut Fields, expiry: v1::create_token_request::Expiry) -> Checked<ChosenExpiry> {
    use v1::create_token_request::Expiry;
    match expiry {
        Expiry::Ttl(ttl) => fields.check("ttl", positive_span(&ttl)).map(ChosenExpiry::After),
        Expiry::ExpireTime(at) => fields.check("expire_time", time(&at)).map(ChosenExpiry::At),
        Expiry::NoExpiry(true) => Ok(ChosenExpiry::Never),
        Expiry::NoExpiry(false) => Err(fields.refuse(
            "no_expiry",
            "must be true if it is set; set ttl or expire_time for a token that expires",
        )),
    }
}

fn allowed_addresses(fields: &mut Fields, cidrs: &[String]) -> Checked<AllowedAddresses> {
    if cidrs.is_empty() {
        return Ok(AllowedAddresses::Any);
    }
    if cidrs.len() > Networks::MAX {
        return Err(fields.refuse(
            "allowed_cidrs",
            format_args!("must list at most {} networks; it lists {}", Networks::MAX, cidrs.len()),
        ));
    }
    let parse =
        |text: &String| parse_network(text).map_err(|error: MalformedNetwork| format!("must be a network: {error}"));
    let networks = fields.check_each("allowed_cidrs", cidrs, parse)?;
    fields.refuse_repeated("allowed_cidrs", &networks);
    // Their number is valid: it is checked above.
    Networks::new(networks).map(AllowedAddresses::Only).ok_or(Invalid)
}

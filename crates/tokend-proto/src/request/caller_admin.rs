//! Requests of `CallerAdmin`.

use std::{collections::BTreeSet, time::Duration};

use tokend_core::{
    caller::{Role, WorkspaceAccess},
    certificate_san::{CertificateSan, MalformedCertificateSan},
    credential::refuse_secrets,
    name::{CallerId, CallerKeyName, WorkspaceId},
    quote::quoted,
};

use crate::{
    field::{FieldViolations, Fields, positive_span},
    request::page::Page,
    v1,
};

/// How long a caller key works unless another span is chosen: 90 days.
pub const DEFAULT_KEY_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most names of certificates that can stand for a caller.
pub const MAX_CERTIFICATE_SANS: usize = 16;
/// Most workspaces that a caller can be limited to.
pub const MAX_WORKSPACES: usize = 1_000;

/// A `CreateCallerRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct CreateCaller {
    /// Its id.
    pub id: CallerId,
    /// What it may do.
    pub role: Role,
    /// Where it may do it.
    pub workspaces: WorkspaceAccess,
    /// The names in a client certificate that stand for it.
    pub certificate_sans: Vec<CertificateSan>,
}

/// A `GetCallerRequest` or `DeleteCallerRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct NamedCaller {
    /// Which.
    pub id: CallerId,
}

/// A `CreateCallerKeyRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct CreateCallerKey {
    /// For whom.
    pub caller: CallerId,
    /// How long it works; more than zero.
    pub ttl: Duration,
}

/// A `RevokeCallerKeyRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct RevokeCallerKey {
    /// Which.
    pub name: CallerKeyName,
    /// Whether to answer before every replica knows.
    pub no_wait: bool,
}

/// A `ListCallersRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListCallers {
    /// Which page.
    pub page: Page,
}

/// A `ListCallerKeysRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListCallerKeys {
    /// Whose.
    pub caller: CallerId,
    /// Which page.
    pub page: Page,
}

impl CreateCaller {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::CreateCallerRequest) -> Result<Self, FieldViolations> {
        let v1::CreateCallerRequest { caller_id, role, workspaces, certificate_sans } = message;
        let mut fields = Fields::default();
        let id = fields.check("caller_id", caller_id.parse());
        let role = fields.check("role", role_from_message(role).ok_or("must be one of the roles"));
        let workspaces = workspace_access(&mut fields, workspaces);
        if let (Some(role), Some(WorkspaceAccess::Only(_))) = (role, &workspaces)
            && !matches!(role, Role::WorkspaceAdmin | Role::Verifier)
        {
            fields.refuse("workspaces", "must be all: only ROLE_WORKSPACE_ADMIN and ROLE_VERIFIER can be limited to some");
        }
        let certificate_sans = sans(&mut fields, &certificate_sans);
        fields.finish((|| Some(Self { id: id?, role: role?, workspaces: workspaces?, certificate_sans: certificate_sans? }))())
    }
}

impl NamedCaller {
    /// Checks a name.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_name(name: &str) -> Result<Self, FieldViolations> {
        let mut fields = Fields::default();
        let id = fields.check("name", CallerId::from_name(name));
        fields.finish(id.map(|id| Self { id }))
    }
}

impl CreateCallerKey {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: &v1::CreateCallerKeyRequest) -> Result<Self, FieldViolations> {
        let v1::CreateCallerKeyRequest { parent, ttl } = message;
        let mut fields = Fields::default();
        let caller = fields.check("parent", CallerId::from_name(parent));
        let ttl = match ttl {
            None => Some(DEFAULT_KEY_TTL),
            Some(ttl) => fields.check("ttl", positive_span(ttl)),
        };
        fields.finish(caller.zip(ttl).map(|(caller, ttl)| Self { caller, ttl }))
    }
}

impl RevokeCallerKey {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::RevokeCallerKeyRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeCallerKeyRequest { name, no_wait } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        fields.finish(name.map(|name| Self { name, no_wait: *no_wait }))
    }
}

impl ListCallers {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: v1::ListCallersRequest) -> Result<Self, FieldViolations> {
        let v1::ListCallersRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(page.map(|page| Self { page }))
    }
}

impl ListCallerKeys {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::ListCallerKeysRequest) -> Result<Self, FieldViolations> {
        let v1::ListCallerKeysRequest { parent, page_size, page_token } = message;
        let mut fields = Fields::default();
        let caller = fields.check("parent", CallerId::from_name(&parent));
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(caller.zip(page).map(|(caller, page)| Self { caller, page }))
    }
}

fn role_from_message(role: i32) -> Option<Role> {
    match v1::Role::try_from(role).ok()? {
        v1::Role::Unspecified => None,
        v1::Role::Admin => Some(Role::Admin),
        v1::Role::WorkspaceAdmin => Some(Role::WorkspaceAdmin),
        v1::Role::Revoker => Some(Role::Revoker),
        v1::Role::Auditor => Some(Role::Auditor),
        v1::Role::Verifier => Some(Role::Verifier),
    }
}

fn workspace_access(fields: &mut Fields, selection: Option<v1::Selection>) -> Option<WorkspaceAccess> {
    match selection {
        Some(v1::Selection { all: true, only }) if only.is_empty() => Some(WorkspaceAccess::All),
        Some(v1::Selection { all: false, only }) if (1..=MAX_WORKSPACES).contains(&only.len()) => {
            let only = fields.check_each("workspaces.only", &only, |name| WorkspaceId::from_name(name))?;
            fields.refuse_repeated("workspaces.only", &only);
            Some(WorkspaceAccess::Only(BTreeSet::from_iter(only)))
        }
        _ => {
            fields.refuse("workspaces", format_args!("must have either all or only, with 1 to {MAX_WORKSPACES} names"));
            None
        }
    }
}

fn sans(fields: &mut Fields, sans: &[String]) -> Option<Vec<CertificateSan>> {
    if sans.len() > MAX_CERTIFICATE_SANS {
        fields.refuse("certificate_sans", format_args!("must have at most {MAX_CERTIFICATE_SANS} names, it has {}", sans.len()));
        return None;
    }
    let parse = |san: &String| {
        refuse_secrets(san).map_err(|error| error.to_string())?;
        san.parse().map_err(|error: MalformedCertificateSan| format!("{error}; it is {}", quoted(san)))
    };
    let sans: Vec<CertificateSan> = fields.check_each("certificate_sans", sans, parse)?;
    fields.refuse_repeated("certificate_sans", &sans);
    Some(sans)
}

//! Requests of `CallerAdmin`.

use std::{collections::BTreeSet, time::Duration};

use tokend_core::{
    caller::{CertificateSan, MalformedCertificateSan, Role, WorkspaceAccess},
    credential::refuse_secrets,
    name::{CallerId, CallerKeyName, WorkspaceId},
    text::quoted,
};

use crate::{
    field::{Checked, FieldViolations, Fields, positive_span},
    request::page::Page,
    v1,
};

/// The default lifetime of a caller key: 90 days.
pub const DEFAULT_KEY_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The most names of certificates that a caller can have.
pub const MAX_CERTIFICATE_SANS: usize = 16;
/// The most workspaces that a caller can be limited to.
pub const MAX_WORKSPACES: usize = 1_000;

/// A validated `CreateCallerRequest`.
#[derive(Clone, Debug)]
pub struct CreateCaller {
    /// The id.
    pub id: CallerId,
    /// What the caller may do.
    pub role: Role,
    /// The workspaces in which it may do that.
    pub workspaces: WorkspaceAccess,
    /// The names in client certificates that authenticate the caller.
    pub certificate_sans: Vec<CertificateSan>,
}

/// A validated `GetCallerRequest`.
#[derive(Clone, Debug)]
pub struct GetCaller {
    /// The caller.
    pub id: CallerId,
}

/// A validated `DeleteCallerRequest`.
#[derive(Clone, Debug)]
pub struct DeleteCaller {
    /// The caller.
    pub id: CallerId,
    /// Whether to respond before every replica knows.
    pub no_wait: bool,
}

/// A validated `CreateCallerKeyRequest`.
#[derive(Clone, Debug)]
pub struct CreateCallerKey {
    /// The caller to create a key for.
    pub caller: CallerId,
    /// The lifetime of the key; more than zero.
    pub ttl: Duration,
}

/// A validated `RevokeCallerKeyRequest`.
#[derive(Clone, Debug)]
pub struct RevokeCallerKey {
    /// The key.
    pub name: CallerKeyName,
    /// Whether to respond before every replica knows.
    pub no_wait: bool,
}

/// A validated `ListCallersRequest`.
#[derive(Clone, Debug)]
pub struct ListCallers {
    /// The page.
    pub page: Page,
}

/// A validated `ListCallerKeysRequest`.
#[derive(Clone, Debug)]
pub struct ListCallerKeys {
    /// The caller whose keys to list.
    pub caller: CallerId,
    /// The page.
    pub page: Page,
}

impl CreateCaller {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::CreateCallerRequest) -> Result<Self, FieldViolations> {
        let v1::CreateCallerRequest {
            caller_id,
            role,
            workspaces,
            certificate_sans,
        } = message;
        let mut fields = Fields::default();
        let id = fields.check("caller_id", caller_id.parse());
        let role = fields.check("role", role_from_message(role).ok_or("must be one of the roles"));
        let workspaces = workspace_access(&mut fields, workspaces);
        if let (Ok(role), Ok(WorkspaceAccess::Only(_))) = (role, &workspaces)
            && !matches!(role, Role::WorkspaceAdmin | Role::Verifier)
        {
            fields.refuse(
                "workspaces",
                "must be all: only ROLE_WORKSPACE_ADMIN and ROLE_VERIFIER can be limited to some",
            );
        }
        let certificate_sans = sans(&mut fields, &certificate_sans);
        fields.finish(|| {
            Ok(Self {
                id: id?,
                role: role?,
                workspaces: workspaces?,
                certificate_sans: certificate_sans?,
            })
        })
    }
}

impl GetCaller {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::GetCallerRequest) -> Result<Self, FieldViolations> {
        let v1::GetCallerRequest { name } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", CallerId::from_name(name));
        fields.finish(|| Ok(Self { id: id? }))
    }
}

impl DeleteCaller {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::DeleteCallerRequest) -> Result<Self, FieldViolations> {
        let v1::DeleteCallerRequest { name, no_wait } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", CallerId::from_name(name));
        let no_wait = *no_wait;
        fields.finish(|| Ok(Self { id: id?, no_wait }))
    }
}

impl CreateCallerKey {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: &v1::CreateCallerKeyRequest) -> Result<Self, FieldViolations> {
        let v1::CreateCallerKeyRequest { parent, ttl } = message;
        let mut fields = Fields::default();
        let caller = fields.check("parent", CallerId::from_name(parent));
        let ttl = match ttl {
            None => Ok(DEFAULT_KEY_TTL),
            Some(ttl) => fields.check("ttl", positive_span(ttl)),
        };
        fields.finish(|| {
            Ok(Self {
                caller: caller?,
                ttl: ttl?,
            })
        })
    }
}

impl RevokeCallerKey {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::RevokeCallerKeyRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeCallerKeyRequest { name, no_wait } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        fields.finish(|| {
            Ok(Self {
                name: name?,
                no_wait: *no_wait,
            })
        })
    }
}

impl ListCallers {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: v1::ListCallersRequest) -> Result<Self, FieldViolations> {
        let v1::ListCallersRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| Ok(Self { page: page? }))
    }
}

impl ListCallerKeys {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::ListCallerKeysRequest) -> Result<Self, FieldViolations> {
        let v1::ListCallerKeysRequest {
            parent,
            page_size,
            page_token,
        } = message;
        let mut fields = Fields::default();
        let caller = fields.check("parent", CallerId::from_name(&parent));
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| {
            Ok(Self {
                caller: caller?,
                page: page?,
            })
        })
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

fn workspace_access(fields: &mut Fields, selection: Option<v1::Selection>) -> Checked<WorkspaceAccess> {
    match selection {
        Some(v1::Selection { all: true, only }) if only.is_empty() => Ok(WorkspaceAccess::All),
        Some(v1::Selection { all: false, only }) if (1..=MAX_WORKSPACES).contains(&only.len()) => {
            let only = fields.check_each("workspaces.only", &only, |name| WorkspaceId::from_name(name))?;
            fields.refuse_repeated("workspaces.only", &only);
            Ok(WorkspaceAccess::Only(BTreeSet::from_iter(only)))
        }
        _ => Err(fields.refuse(
            "workspaces",
            format_args!("must have either all or only, with 1 to {MAX_WORKSPACES} names"),
        )),
    }
}

fn sans(fields: &mut Fields, sans: &[String]) -> Checked<Vec<CertificateSan>> {
    if sans.len() > MAX_CERTIFICATE_SANS {
        return Err(fields.refuse(
            "certificate_sans",
            format_args!("must have at most {MAX_CERTIFICATE_SANS} names; it has {}", sans.len()),
        ));
    }
    let parse = |san: &String| {
        refuse_secrets(san).map_err(|error| error.to_string())?;
        san.parse()
            .map_err(|error: MalformedCertificateSan| format!("{error}; it is {}", quoted(san)))
    };
    let sans: Vec<CertificateSan> = fields.check_each("certificate_sans", sans, parse)?;
    fields.refuse_repeated("certificate_sans", &sans);
    Ok(sans)
}

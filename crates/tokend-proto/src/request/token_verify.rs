//! Requests of `TokenVerify`.

use std::net::IpAddr;

use tokend_core::{
    credential::Secret,
    quote::quoted,
    resource::Resource,
    revision::Revision,
    scope::{ScopeCatalog, ScopeName, ScopeSet},
};

use crate::{
    field::{FieldViolations, Fields},
    v1,
};

/// Most scopes that a request can require.
pub const MAX_REQUIRED_SCOPES: usize = 64;

/// Most questions in a batch.
pub const MAX_QUESTIONS: usize = 256;

/// A `VerifyRequest` whose fields fit. Whatever the token is, it is no error.
#[derive(Debug)]
pub struct Verify {
    /// The token as presented.
    pub token: Secret,
    /// What the request is about.
    pub resource: Resource,
    /// What it needs.
    pub required_scopes: ScopeSet,
    /// Where it comes from, if known.
    pub client_address: Option<IpAddr>,
    /// The oldest state to answer from.
    pub min_revision: Option<Revision>,
    /// Whether nothing may come from memory.
    pub fully_consistent: bool,
}

/// A `BatchVerifyRequest` whose fields fit.
#[derive(Debug)]
pub struct BatchVerify {
    /// The questions, in order.
    pub questions: Vec<Verify>,
}

impl Verify {
    /// Checks a message against the scopes that exist.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::VerifyRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::VerifyRequest { token, resource, required_scopes, client_address, min_revision, fully_consistent } = message;
        let token = Secret::new(token);
        let mut fields = Fields::default();
        let resource = fields.check("resource", Resource::new(resource));
        let required_scopes = required_scope_set(&mut fields, &required_scopes, catalog);
        let client_address = match client_address.as_str() {
            "" => Some(None),
            text => fields.check("client_address", address(text).map(Some)),
        };
        let min_revision = min_revision.map(|v1::Revision { epoch, number }| Revision { epoch, number });
        let value = resource.zip(required_scopes).zip(client_address).map(|((resource, required_scopes), client_address)| Self {
            token,
            resource,
            required_scopes,
            client_address,
            min_revision,
            fully_consistent,
        });
        fields.finish(value)
    }
}

impl BatchVerify {
    /// Checks a message against the scopes that exist.
    ///
    /// # Errors
    /// Every field of every question that does not fit.
    pub fn from_message(message: v1::BatchVerifyRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::BatchVerifyRequest { requests } = message;
        let mut fields = Fields::default();
        if !(1..=MAX_QUESTIONS).contains(&requests.len()) {
            fields.refuse("requests", format_args!("must hold 1 to {MAX_QUESTIONS} requests, it holds {}", requests.len()));
            return fields.finish(None);
        }
        let questions: Vec<_> = requests
            .into_iter()
            .enumerate()
            .map(|(index, message)| fields.merge(&format!("requests[{index}]"), Verify::from_message(message, catalog)))
            .collect();
        fields.finish(questions.into_iter().collect::<Option<_>>().map(|questions| Self { questions }))
    }
}

fn required_scope_set(fields: &mut Fields, names: &[String], catalog: &ScopeCatalog) -> Option<ScopeSet> {
    if names.len() > MAX_REQUIRED_SCOPES {
        fields.refuse("required_scopes", format_args!("must name at most {MAX_REQUIRED_SCOPES} scopes, it names {}", names.len()));
        return None;
    }
    let mut all = Some(ScopeSet::EMPTY);
    for (index, name) in names.iter().enumerate() {
        let scope = catalog.scope(name);
        if scope.is_none() {
            fields.refuse(&format!("required_scopes[{index}]"), unknown_scope(name));
        }
        all = all.zip(scope).map(|(all, scope)| all.union(scope));
    }
    all
}

pub(super) fn unknown_scope(name: &str) -> String {
    match name.parse::<ScopeName>() {
        Ok(_) => format!("names {}, which is not a scope of this installation; ListScopes tells which are", quoted(name)),
        Err(malformed) => malformed.to_string(),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("must be an IP address such as 192.0.2.7 or 2001:db8::7, it is {}", quoted(text)))
}

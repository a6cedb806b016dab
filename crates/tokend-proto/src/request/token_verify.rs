//! Requests of `TokenVerify`.

use std::net::IpAddr;

use tokend_core::{
    credential::Secret,
    feed::Revision,
    resource::Resource,
    scope::{ScopeCatalog, ScopeName, ScopeSet},
    text::quoted,
};

use crate::{
    field::{Checked, FieldViolations, Fields},
    v1,
};

/// The most scopes that a request can require.
pub const MAX_REQUIRED_SCOPES: usize = 64;

/// The most questions in a batch.
pub const MAX_QUESTIONS: usize = 256;

/// A validated `VerifyRequest`. No token is invalid: a malformed one is denied.
#[derive(Debug)]
pub struct Verify {
    /// The token as presented.
    pub token: Secret,
    /// The resource that the request accesses.
    pub resource: Resource,
    /// The scopes that the request needs.
    pub required_scopes: ScopeSet,
    /// The client's address, if known.
    pub client_address: Option<IpAddr>,
    /// The oldest revision to answer from.
    pub min_revision: Option<Revision>,
    /// Whether to answer without using the cache.
    pub fully_consistent: bool,
}

/// A validated `BatchVerifyRequest`.
#[derive(Debug)]
pub struct BatchVerify {
    /// The questions, in order.
    pub questions: Vec<Verify>,
}

impl Verify {
    /// Validates a message against the scopes of the catalog.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::VerifyRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::VerifyRequest {
            token,
            resource,
            required_scopes,
            client_address,
            min_revision,
            fully_consistent,
        } = message;
        let token = Secret::new(token);
        let mut fields = Fields::default();
        let resource = fields.check("resource", Resource::new(resource));
        let required_scopes = required_scope_set(&mut fields, &required_scopes, catalog);
        let client_address = match client_address.as_str() {
            "" => Ok(None),
            text => fields.check("client_address", address(text).map(Some)),
        };
        let min_revision = min_revision.map(|v1::Revision { epoch, number }| Revision { epoch, number });
        fields.finish(|| {
            Ok(Self {
                token,
                resource: resource?,
                required_scopes: required_scopes?,
                client_address: client_address?,
                min_revision,
                fully_consistent,
            })
        })
    }
}

impl BatchVerify {
    /// Validates a message against the scopes of the catalog.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field of every question.
    pub fn from_message(message: v1::BatchVerifyRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::BatchVerifyRequest { requests } = message;
        let mut fields = Fields::default();
        if !(1..=MAX_QUESTIONS).contains(&requests.len()) {
            let invalid = fields.refuse(
                "requests",
                format_args!("must have 1 to {MAX_QUESTIONS} requests; it has {}", requests.len()),
            );
            return fields.finish(|| Err(invalid));
        }
        let questions: Vec<_> = requests
            .into_iter()
            .enumerate()
            .map(|(index, message)| fields.merge(&format!("requests[{index}]"), Verify::from_message(message, catalog)))
            .collect();
        let questions: Checked<Vec<Verify>> = questions.into_iter().collect();
        fields.finish(|| Ok(Self { questions: questions? }))
    }
}

fn required_scope_set(fields: &mut Fields, names: &[String], catalog: &ScopeCatalog) -> Checked<ScopeSet> {
    if names.len() > MAX_REQUIRED_SCOPES {
        return Err(fields.refuse(
            "required_scopes",
            format_args!(
                "must name at most {MAX_REQUIRED_SCOPES} scopes; it names {}",
                names.len()
            ),
        ));
    }
    let mut all = Ok(ScopeSet::EMPTY);
    for (index, name) in names.iter().enumerate() {
        all = match catalog.scope(name) {
            Some(scope) => all.map(|all| all.union(scope)),
            None => Err(fields.refuse(&format!("required_scopes[{index}]"), unknown_scope(name))),
        };
    }
    all
}

pub(super) fn unknown_scope(name: &str) -> String {
    match name.parse::<ScopeName>() {
        Ok(_) => format!(
            "names {}, which is not a scope of this installation; ListScopes lists them",
            quoted(name)
        ),
        Err(malformed) => malformed.to_string(),
    }
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "must be an IP address such as 192.0.2.7 or 2001:db8::7, it is {}",
            quoted(text)
        )
    })
}

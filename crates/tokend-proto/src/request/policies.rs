//! Requests of `WorkspaceAdmin` about token policies.

use std::{collections::BTreeSet, num::NonZeroU32};

use tokend_core::{
    address::{AllowedAddresses, MalformedNetwork, Networks, parse_network},
    policy::{AllowedScopes, ExistingTokens, Lifetime, Policy, PolicyConflict, PolicyName, Rules, ScopeNames},
    scope::{ScopeCatalog, ScopeName},
};

use crate::{
    field::{Checked, FieldViolations, Fields, Invalid, positive_span},
    request::token_verify::unknown_scope,
    v1,
};

/// A validated `GetTokenPolicyRequest`.
#[derive(Clone, Debug)]
pub struct GetTokenPolicy {
    /// The policy.
    pub name: PolicyName,
}

/// A validated `UpdateTokenPolicyRequest`.
#[derive(Clone, Debug)]
pub struct UpdateTokenPolicy {
    /// The policy to set.
    pub name: PolicyName,
    /// The new rules.
    pub policy: Policy,
    /// The etag of the policy to replace, if the client sent one.
    pub etag: Option<String>,
    /// Whether to change nothing.
    pub validate_only: bool,
    /// Whether to respond before every replica knows.
    pub no_wait: bool,
}

impl GetTokenPolicy {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::GetTokenPolicyRequest) -> Result<Self, FieldViolations> {
        let v1::GetTokenPolicyRequest { name } = message;
        let mut fields = Fields::default();
        let name = fields.check("name", name.parse());
        fields.finish(|| Ok(Self { name: name? }))
    }
}

impl UpdateTokenPolicy {
    /// Validates a message against the scopes of the catalog.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(
        message: v1::UpdateTokenPolicyRequest,
        catalog: &ScopeCatalog,
    ) -> Result<Self, FieldViolations> {
        let v1::UpdateTokenPolicyRequest {
            policy,
            validate_only,
            no_wait,
        } = message;
        let Some(policy) = policy else {
            return Err(FieldViolations::one("policy", "must be set"));
        };
        let v1::TokenPolicy {
            name,
            require_expiry,
            max_lifetime,
            default_lifetime,
            allowed_scopes,
            allowed_cidrs,
            max_active_tokens,
            existing_tokens,
            update_time: _,
            etag,
        } = policy;
        let mut fields = Fields::default();
        let name = fields.check("policy.name", name.parse());
        let max_lifetime = lifetime(&mut fields, "policy.max_lifetime", max_lifetime);
        let default_lifetime = lifetime(&mut fields, "policy.default_lifetime", default_lifetime);
        let allowed_scopes = scopes(&mut fields, allowed_scopes, catalog);
        let allowed_addresses = addresses(&mut fields, allowed_cidrs);
        let max_active_tokens = cap(&mut fields, max_active_tokens);
        let existing_tokens = existing(&mut fields, existing_tokens);
        let policy = (|| {
            let rules = Rules {
                require_expiry,
                max_lifetime: max_lifetime?,
                default_lifetime: default_lifetime?,
                allowed_scopes: allowed_scopes?,
                allowed_addresses: allowed_addresses?,
                max_active_tokens: max_active_tokens?,
            };
            fitting(&mut fields, rules, existing_tokens?)
        })();
        let etag = Some(etag).filter(|etag| !etag.is_empty());
        fields.finish(|| {
            Ok(Self {
                name: name?,
                policy: policy?,
                etag,
                validate_only,
                no_wait,
            })
        })
    }
}

fn fitting(fields: &mut Fields, rules: Rules, existing_tokens: ExistingTokens) -> Checked<Policy> {
    Policy::new(rules, existing_tokens).map_err(|conflict| match conflict {
        PolicyConflict::DefaultAboveMax => {
            fields.refuse("policy.default_lifetime", "must not be longer than max_lifetime")
        }
        PolicyConflict::ApplyWithoutMax => {
            fields.refuse("policy.existing_tokens", "must be KEEP if max_lifetime is not set")
        }
    })
}

/// Validates an optional lifetime.
fn lifetime(fields: &mut Fields, field: &str, span: Option<prost_types::Duration>) -> Checked<Option<Lifetime>> {
    let Some(span) = span else { return Ok(None) };
    let span = fields.check(field, positive_span(&span))?;
    fields.check(field, Lifetime::new(span)).map(Some)
}

fn scopes(fields: &mut Fields, selection: Option<v1::Selection>, catalog: &ScopeCatalog) -> Checked<AllowedScopes> {
    const FIELD: &str = "policy.allowed_scopes.only";
    let Some(only) = chosen(fields, "policy.allowed_scopes", selection, ScopeNames::MAX)? else {
        return Ok(AllowedScopes::Any);
    };
    let known = |name: &String| match name.parse::<ScopeName>() {
        Ok(known) if catalog.scope(known.as_str()).is_some() => Ok(known),
        _ => Err(unknown_scope(name)),
    };
    let names = fields.check_each(FIELD, &only, known)?;
    fields.refuse_repeated(FIELD, &names);
    // Their number is valid: `chosen` checks it.
    ScopeNames::new(BTreeSet::from_iter(names))
        .map(AllowedScopes::Only)
        .ok_or(Invalid)
}

fn addresses(fields: &mut Fields, selection: Option<v1::Selection>) -> Checked<AllowedAddresses> {
    const FIELD: &str = "policy.allowed_cidrs.only";
    let Some(only) = chosen(fields, "policy.allowed_cidrs", selection, Networks::MAX)? else {
        return Ok(AllowedAddresses::Any);
    };
    let parse =
        |text: &String| parse_network(text).map_err(|error: MalformedNetwork| format!("must be a network: {error}"));
    let networks = fields.check_each(FIELD, &only, parse)?;
    fields.refuse_repeated(FIELD, &networks);
    // Their number is valid: `chosen` checks it.
    Networks::new(networks).map(AllowedAddresses::Only).ok_or(Invalid)
}

/// Validates a selection: `Ok(None)` for everything or no rule.
fn chosen(
    fields: &mut Fields,
    field: &str,
    selection: Option<v1::Selection>,
    most: usize,
) -> Checked<Option<Vec<String>>> {
    match selection {
        None => Ok(None),
        Some(v1::Selection { all: true, only }) if only.is_empty() => Ok(None),
        Some(v1::Selection { all: false, only }) if (1..=most).contains(&only.len()) => Ok(Some(only)),
        Some(_) => Err(fields.refuse(
            field,
            format_args!("must have either all or only, with 1 to {most} entries; leave it out for no rule"),
        )),
    }
}

fn cap(fields: &mut Fields, most: Option<i32>) -> Checked<Option<NonZeroU32>> {
    let Some(most) = most else { return Ok(None) };
    let most = u32::try_from(most)
        .ok()
        .and_then(NonZeroU32::new)
        .filter(|most| most.get() <= Rules::MAX_ACTIVE_TOKENS);
    let wanted = format_args!("must be 1 to {}; leave it out for no rule", Rules::MAX_ACTIVE_TOKENS);
    fields.check("policy.max_active_tokens", most.ok_or(wanted)).map(Some)
}

fn existing(fields: &mut Fields, existing: i32) -> Checked<ExistingTokens> {
    use v1::token_policy::ExistingTokens as Message;
    match Message::try_from(existing) {
        Ok(Message::Unspecified | Message::Keep) => Ok(ExistingTokens::Keep),
        Ok(Message::Apply) => Ok(ExistingTokens::Apply),
        Err(_) => Err(fields.refuse("policy.existing_tokens", "must be KEEP or APPLY")),
    }
}

//! The request of `TokenAdmin.BatchRevokeTokens`.

use tokend_core::{
    credential::CredentialId,
    filter::TokenFilter,
    name::{TokenName, WorkspaceId},
    text::Reason,
};

use crate::{
    field::{Checked, FieldViolations, Fields},
    v1,
};

/// The most tokens that a call may name.
pub const MAX_NAMES: usize = 1_000;

/// A validated `BatchRevokeTokensRequest`.
#[derive(Clone, Debug)]
pub struct BatchRevokeTokens {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The tokens to revoke.
    pub chosen: ChosenTokens,
    /// The reason.
    pub reason: Reason,
    /// Whether to change nothing.
    pub validate_only: bool,
    /// Whether to respond before the tokens stop working everywhere.
    pub no_wait: bool,
}

/// A choice of tokens in a workspace. It is always explicit, never the result of a missing value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChosenTokens {
    /// These tokens, without repetition; at least one.
    Named(Vec<CredentialId>),
    /// The tokens that match the filter.
    Matching(TokenFilter),
}

impl BatchRevokeTokens {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::BatchRevokeTokensRequest) -> Result<Self, FieldViolations> {
        let v1::BatchRevokeTokensRequest {
            parent,
            names,
            filter,
            reason,
            validate_only,
            no_wait,
        } = message;
        let mut fields = Fields::default();
        let workspace = fields.check("parent", WorkspaceId::from_name(&parent));
        let chosen = chosen(&mut fields, workspace.as_ref().ok(), &names, &filter);
        let reason = fields.check("reason", Reason::received_without_secrets(reason));
        fields.finish(|| {
            Ok(Self {
                workspace: workspace?,
                chosen: chosen?,
                reason: reason?,
                validate_only,
                no_wait,
            })
        })
    }
}

fn chosen(
    fields: &mut Fields,
    workspace: Option<&WorkspaceId>,
    names: &[String],
    filter: &str,
) -> Checked<ChosenTokens> {
    match (names.len(), filter) {
        (0, filter) => match fields.filter(filter)? {
            Some(filter) => Ok(ChosenTokens::Matching(filter)),
            None => Err(fields.refuse("names", "must name at least one token if filter is empty")),
        },
        (1..=MAX_NAMES, "") => named(fields, workspace, names).map(ChosenTokens::Named),
        (count, "") => Err(fields.refuse(
            "names",
            format_args!("must have at most {MAX_NAMES} names; it has {count}"),
        )),
        _ => Err(fields.refuse("filter", "must be empty if names are given")),
    }
}

fn named(fields: &mut Fields, workspace: Option<&WorkspaceId>, names: &[String]) -> Checked<Vec<CredentialId>> {
    let own = |text: &String| -> Result<CredentialId, String> {
        let name: TokenName = text
            .parse()
            .map_err(|error: tokend_core::name::MalformedName| error.to_string())?;
        match workspace {
            Some(workspace) if name.workspace != *workspace => Err(format!("must be a token of {}", workspace.name())),
            _ => Ok(name.id),
        }
    };
    let ids = fields.check_each("names", names, own)?;
    fields.refuse_repeated("names", &ids);
    Ok(ids)
}

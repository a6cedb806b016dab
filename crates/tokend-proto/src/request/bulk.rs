//! `TokenAdmin.BatchRevokeTokens`.

use tokend_core::{
    credential::CredentialId,
    filter::TokenFilter,
    name::{TokenName, WorkspaceId},
    text::Reason,
};

use crate::{
    field::{FieldViolations, Fields},
    v1,
};

/// Most tokens that a call names.
pub const MAX_NAMES: usize = 1_000;

/// A `BatchRevokeTokensRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct BatchRevokeTokens {
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// Which tokens.
    pub chosen: ChosenTokens,
    /// Why.
    pub reason: Reason,
    /// Whether to change nothing.
    pub validate_only: bool,
    /// Whether to answer before the tokens are dead everywhere.
    pub no_wait: bool,
}

/// Which tokens of a workspace are meant. Never chosen by leaving something out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChosenTokens {
    /// These, each once; at least one.
    Named(Vec<CredentialId>),
    /// Those that this is true of.
    Matching(TokenFilter),
}

impl BatchRevokeTokens {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::BatchRevokeTokensRequest) -> Result<Self, FieldViolations> {
        let v1::BatchRevokeTokensRequest { parent, names, filter, reason, validate_only, no_wait } = message;
        let mut fields = Fields::default();
        let workspace = fields.check("parent", WorkspaceId::from_name(&parent));
        let chosen = chosen(&mut fields, workspace.as_ref(), &names, &filter);
        let reason = fields.check("reason", Reason::received_without_secrets(reason));
        let value = workspace.zip(chosen).zip(reason).map(|((workspace, chosen), reason)| Self {
            workspace,
            chosen,
            reason,
            validate_only,
            no_wait,
        });
        fields.finish(value)
    }
}

fn chosen(fields: &mut Fields, workspace: Option<&WorkspaceId>, names: &[String], filter: &str) -> Option<ChosenTokens> {
    match (names.len(), filter) {
        (0, "") => {
            fields.refuse("names", "must name a token, unless filter says which are meant");
            None
        }
        (0, filter) => fields.filter(filter).flatten().map(ChosenTokens::Matching),
        (1..=MAX_NAMES, "") => named(fields, workspace, names).map(ChosenTokens::Named),
        (count, "") => {
            fields.refuse("names", format_args!("must hold at most {MAX_NAMES} names, it holds {count}"));
            None
        }
        _ => {
            fields.refuse("filter", "must be empty where names say which are meant");
            None
        }
    }
}

fn named(fields: &mut Fields, workspace: Option<&WorkspaceId>, names: &[String]) -> Option<Vec<CredentialId>> {
    let own = |text: &String| -> Result<CredentialId, String> {
        let name: TokenName = text.parse().map_err(|error: tokend_core::name::MalformedName| error.to_string())?;
        match workspace {
            Some(workspace) if name.workspace != *workspace => Err(format!("must be a token of {}", workspace.name())),
            _ => Ok(name.id),
        }
    };
    let ids = fields.check_each("names", names, own)?;
    fields.refuse_repeated("names", &ids);
    Some(ids)
}

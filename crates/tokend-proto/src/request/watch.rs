//! Messages of the client in `TokenVerify.Watch`.

use tokend_core::{
    credential::CredentialId,
    feed::Revision,
    name::{TokenName, WorkspaceId},
    scope::{ScopeCatalog, ScopeName, ScopeSet},
    time::Timestamp,
    token::usage::TokenUse,
};

use super::token_verify::address;
use crate::{
    field::{Checked, FieldViolations, Fields, time},
    v1,
};

/// The most uses in a message.
pub const MAX_USES: usize = 1_000;

/// The most scopes in a use: all that a token can have, since several uses may be reported as one.
pub const MAX_SCOPES: usize = ScopeSet::CAPACITY;

/// A validated `WatchRequest`.
#[derive(Debug)]
pub struct WatchMessage {
    /// The revision up to which the client has applied invalidations of an earlier stream.
    pub resume: Option<Revision>,
    /// The ping, if there is one.
    pub ping: Option<Ping>,
    /// The uses of tokens that the client has answered from its cache.
    pub uses: Vec<ReportedUse>,
}

/// Asks for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// The number that the pong repeats.
    pub number: u64,
    /// The revision up to which the client has applied invalidations, if it says so.
    pub applied: Option<Revision>,
}

/// A use of a token that a client has answered from its cache.
#[derive(Clone, Debug)]
pub struct ReportedUse {
    /// The token's workspace.
    pub workspace: WorkspaceId,
    /// The token.
    pub token: CredentialId,
    /// The use.
    pub used: TokenUse,
}

impl WatchMessage {
    /// Validates a message. Scopes that the catalog does not have are left out of uses: the client may know another
    /// version of it.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::WatchRequest, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::WatchRequest {
            resume_revision,
            ping,
            uses,
        } = message;
        let revision = |v1::Revision { epoch, number }| Revision { epoch, number };
        let mut fields = Fields::default();
        if uses.len() > MAX_USES {
            let problem = format_args!("must have at most {MAX_USES} uses; it has {}", uses.len());
            let invalid = fields.refuse("uses", problem);
            return fields.finish(|| Err(invalid));
        }
        let uses: Vec<_> = uses
            .into_iter()
            .enumerate()
            .map(|(index, message)| {
                fields.merge(&format!("uses[{index}]"), ReportedUse::from_message(message, catalog))
            })
            .collect();
        let uses: Checked<Vec<_>> = uses.into_iter().collect();
        fields.finish(|| {
            Ok(Self {
                resume: resume_revision.map(revision),
                ping: ping.map(
                    |v1::Ping {
                         number,
                         applied_revision,
                     }| Ping {
                        number,
                        applied: applied_revision.map(revision),
                    },
                ),
                uses: uses?,
            })
        })
    }
}

impl ReportedUse {
    fn from_message(message: v1::TokenUse, catalog: &ScopeCatalog) -> Result<Self, FieldViolations> {
        let v1::TokenUse {
            token,
            time: at,
            address: from,
            scopes,
        } = message;
        let mut fields = Fields::default();
        let name = fields.check("token", token.parse::<TokenName>());
        let at: Checked<Timestamp> = match at {
            Some(at) => fields.check("time", time(&at)),
            None => Err(fields.refuse("time", "is required")),
        };
        let from = match from.as_str() {
            "" => Ok(None),
            text => fields.check("address", address(text).map(Some)),
        };
        let asked = asked_scopes(&mut fields, &scopes, catalog);
        fields.finish(|| {
            let TokenName { workspace, id } = name?;
            Ok(Self {
                workspace,
                token: id,
                used: TokenUse {
                    at: at?,
                    address: from?,
                    asked: asked?,
                },
            })
        })
    }
}

/// Returns the scopes of the catalog among `names`, which must all be names of scopes.
fn asked_scopes(fields: &mut Fields, names: &[String], catalog: &ScopeCatalog) -> Checked<ScopeSet> {
    if names.len() > MAX_SCOPES {
        let problem = format_args!("must name at most {MAX_SCOPES} scopes; it names {}", names.len());
        return Err(fields.refuse("scopes", problem));
    }
    fields.check_each("scopes", names, |name| name.parse::<ScopeName>())?;
    let known = names.iter().filter_map(|name| catalog.scope(name));
    Ok(known.fold(ScopeSet::EMPTY, ScopeSet::union))
}

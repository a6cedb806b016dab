//! Workspace access tokens. A stored token never changes, except for its expiry, its revocation, and the tokens that it
//! replaces or is replaced by.

pub mod expiry_notice;
pub mod retention;
pub mod rotation;
pub mod usage;

mod context;

pub use context::TokenContext;

use crate::{
    address::AllowedAddresses,
    credential::{Credential, CredentialId, Kind, SecretDigest},
    labels::Labels,
    name::{CallerId, TokenName},
    policy::Deadlines,
    resource::Resource,
    row_mac::{MacInput, Sealed},
    scope::GrantedScopes,
    text::{Description, DisplayName, Reason},
    time::Timestamp,
    workspace::WorkspaceState,
};

/// A workspace access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The workspace and the public id.
    pub name: TokenName,
    /// The digest of the secret.
    pub digest: SecretDigest,
    /// The resource that the token is bound to: its workspace or something below it.
    pub resource: Resource,
    /// The name that is shown to people.
    pub display_name: DisplayName,
    /// What the token is used for.
    pub description: Description,
    /// The scopes that the token grants.
    pub scopes: GrantedScopes,
    /// The addresses that the token may be used from.
    pub allowed_addresses: AllowedAddresses,
    /// Labels by which people sort their tokens.
    pub labels: Labels,
    /// When the token was created.
    pub create_time: Timestamp,
    /// The caller that created the token.
    pub creator: CallerId,
    /// The expiry before any deadline of a policy applies: the chosen one, or earlier if the token was rotated and its
    /// overlap ends first. [`Token::expiry`] returns the effective expiry.
    pub own_expiry: Expiry,
    /// The expiry that was chosen when the token was created. Never before `own_expiry`.
    pub requested_expiry: Expiry,
    /// The revocation, if the token was revoked.
    pub revocation: Option<Revocation>,
    /// The token that this one replaces, in the same workspace.
    pub rotated_from: Option<CredentialId>,
    /// The token that replaces this one, in the same workspace.
    pub rotated_to: Option<CredentialId>,
}

/// When a token expires. A token that never expires says so explicitly: the variant is never the result of a missing
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It never expires.
    Never,
    /// It is expired from this time on: `now >= time`.
    At(Timestamp),
}

/// How a token was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When it was revoked.
    pub at: Timestamp,
    /// The caller that revoked it.
    pub by: CallerId,
    /// The reason that the caller gave.
    pub reason: Reason,
}

/// The state of a token, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// The token works.
    Active,
    /// The token has expired.
    Expired,
    /// The token was revoked, or its workspace was deleted.
    Revoked,
    /// The token's workspace is suspended.
    Suspended,
}

impl TokenState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Expired, Self::Revoked, Self::Suspended];

    /// Returns the name in the contract, without the prefix `STATE_`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Expired => "EXPIRED",
            Self::Revoked => "REVOKED",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// Returns the state with that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl Expiry {
    /// Returns the time of expiry, `None` if there is none.
    #[must_use]
    pub const fn time(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }

    /// Returns the earlier of two expiries.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.time(), other.time()) {
            (Some(one), Some(other)) => Self::At(one.min(other)),
            (Some(_), None) => self,
            (None, _) => other,
        }
    }

    /// Returns whether the expiry has come: `now >= time`.
    #[must_use]
    pub fn has_passed(self, now: Timestamp) -> bool {
        self.time().is_some_and(|time| now >= time)
    }
}

impl Token {
    /// Returns the effective expiry: the token's own, or the deadline of a policy if that is earlier.
    #[must_use]
    pub fn expiry(&self, token_context: &TokenContext) -> Expiry {
        self.expiry_under(&token_context.deadlines)
    }

    /// Returns the effective expiry under `deadlines`.
    #[must_use]
    pub fn expiry_under(&self, deadlines: &Deadlines) -> Expiry {
        deadlines
            .end_of(self.create_time)
            .map_or(self.own_expiry, |end| self.own_expiry.earlier(Expiry::At(end)))
    }

    /// Returns the state at `now`. Revoked takes precedence over expired, and both over suspended.
    #[must_use]
    pub fn state(&self, token_context: &TokenContext, now: Timestamp) -> TokenState {
        match (&self.revocation, token_context.state) {
            (Some(_), _) | (None, WorkspaceState::Deleted { .. }) => TokenState::Revoked,
            (None, _) if self.expiry(token_context).has_passed(now) => TokenState::Expired,
            (None, WorkspaceState::Suspended { .. }) => TokenState::Suspended,
            (None, WorkspaceState::Active) => TokenState::Active,
        }
    }
}

impl Credential for Token {
    const KIND: Kind = Kind::WorkspaceToken;

    fn id(&self) -> CredentialId {
        self.name.id
    }

    fn digest(&self) -> &SecretDigest {
        &self.digest
    }
}

impl Sealed for Token {
    const TABLE: &'static str = "tokens";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            name,
            digest,
            resource,
            display_name,
            description: _,
            scopes,
            allowed_addresses,
            labels,
            create_time,
            creator,
            own_expiry,
            requested_expiry,
            revocation,
            rotated_from,
            rotated_to,
        } = self;
        input.text(name.workspace.as_str());
        input.bytes(name.id.as_bytes());
        input.number(digest.kid().digit().into());
        input.bytes(digest.as_bytes());
        input.text(resource.as_str());
        // Verify returns the name and the labels, and services base decisions on them.
        input.text(display_name.as_str());
        input.texts(
            labels
                .iter()
                .flat_map(|(key, value)| [key, value])
                .collect::<Vec<_>>()
                .into_iter(),
        );
        input.number(scopes.catalog_version().into());
        input.texts(scopes.granted().iter().map(|name| name.as_str()));
        input.texts(scopes.effective().iter().map(|name| name.as_str()));
        let networks: Vec<_> = allowed_addresses.networks().iter().map(ToString::to_string).collect();
        input.texts(networks.iter().map(String::as_str));
        input.time(*create_time);
        input.text(creator.as_str());
        input.optional(own_expiry.time(), MacInput::time);
        input.optional(revocation.as_ref(), |input, Revocation { at, by, reason: _ }| {
            input.time(*at);
            input.text(by.as_str());
        });
        let was_never_rotated = requested_expiry == own_expiry && rotated_from.is_none() && rotated_to.is_none();
        input.since(2, was_never_rotated, |input| {
            input.optional(requested_expiry.time(), MacInput::time);
            for other in [rotated_from, rotated_to] {
                input.optional(other.as_ref(), |input, id| input.bytes(id.as_bytes()));
            }
        });
    }
}

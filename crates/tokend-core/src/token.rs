//! Workspace access tokens as they are stored: immutable but for their end, and for what replaces them.

use crate::{
    address::AllowedAddresses,
    credential::{Credential, CredentialId, Kind, SecretDigest},
    labels::Labels,
    name::{CallerId, TokenName, WorkspaceId},
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
    /// Its workspace and public id.
    pub name: TokenName,
    /// What is stored of its secret.
    pub digest: SecretDigest,
    /// What it is bound to: its workspace or something below.
    pub resource: Resource,
    /// What it is called.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Description,
    /// What it permits.
    pub scopes: GrantedScopes,
    /// Where it may be used from.
    pub allowed_addresses: AllowedAddresses,
    /// How people sort it.
    pub labels: Labels,
    /// When it was made.
    pub create_time: Timestamp,
    /// The caller that made it.
    pub creator: CallerId,
    /// When it ends by itself whatever deadlines bind it: as chosen when it was made, or before that with the overlap in which it is being
    /// replaced. When it really ends is for [`Token::expiry`] to tell.
    pub own_expiry: Expiry,
    /// When it was to end by itself as chosen when it was made. Never before `own_expiry`.
    pub requested_expiry: Expiry,
    /// Whether it was ended before that.
    pub revocation: Option<Revocation>,
    /// The token of the same workspace that it was made to replace.
    pub rotated_from: Option<CredentialId>,
    /// The token of the same workspace that replaces it.
    pub rotated_to: Option<CredentialId>,
}

/// When a token ends by itself. Never chosen by leaving something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It does not.
    Never,
    /// From this time on it is expired.
    At(Timestamp),
}

/// What a token's life depends on besides itself. Whoever shows or judges a token needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Whether the workspace's tokens work.
    pub state: WorkspaceState,
    /// What the policies of workspace and organization have left.
    pub deadlines: Deadlines,
}

/// How a token was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// By which caller.
    pub by: CallerId,
    /// Why.
    pub reason: Reason,
}

/// What people are told of a token's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked, or its workspace deleted.
    Revoked,
    /// Its workspace is suspended.
    Suspended,
}

impl TokenState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Expired, Self::Revoked, Self::Suspended];

    /// The word in the contract, without its prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Expired => "EXPIRED",
            Self::Revoked => "REVOKED",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl Expiry {
    /// The time, if there is one.
    #[must_use]
    pub const fn time(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }

    /// The one that comes first.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.time(), other.time()) {
            (Some(one), Some(other)) => Self::At(one.min(other)),
            (Some(_), None) => self,
            (None, _) => other,
        }
    }

    /// Whether it has come: expired means `now >= expire_time`.
    #[must_use]
    pub fn has_passed(self, now: Timestamp) -> bool {
        self.time().is_some_and(|time| now >= time)
    }
}

impl Token {
    /// When it ends by itself, everything that binds it considered.
    #[must_use]
    pub fn expiry(&self, circumstances: &Circumstances) -> Expiry {
        self.expiry_under(&circumstances.deadlines)
    }

    /// When it ends by itself if these deadlines bind it.
    #[must_use]
    pub fn expiry_under(&self, deadlines: &Deadlines) -> Expiry {
        deadlines.end_of(self.create_time).map_or(self.own_expiry, |end| self.own_expiry.earlier(Expiry::At(end)))
    }

    /// Its state at `now`. Revoked outranks expired, and both outrank suspended.
    #[must_use]
    pub fn state(&self, circumstances: &Circumstances, now: Timestamp) -> TokenState {
        match (&self.revocation, circumstances.state) {
            (Some(_), _) | (None, WorkspaceState::Deleted { .. }) => TokenState::Revoked,
            (None, _) if self.expiry(circumstances).has_passed(now) => TokenState::Expired,
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
        // Verify tells name and labels, and services decide by them.
        input.text(display_name.as_str());
        input.texts(labels.iter().flat_map(|(key, value)| [key, value]).collect::<Vec<_>>().into_iter());
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

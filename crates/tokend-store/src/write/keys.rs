//! What keys may do: made known, activated, retired; and the rows that hold on to a key.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Value,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Func, LockType, Order, Query, SelectStatement},
};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Credential, Kid},
    feed::FeedHead,
    keyring::{KeyState, KnownKey, WrongKeys},
    organization::Organization,
    row_mac::{RowMac, Sealed},
    time::Timestamp,
    token::{Expiry, Token},
    webhook::Message,
    workspace::Workspace,
};

use super::{Insert, Locked, WriteTx};
use crate::{
    entity::{caller_keys, keyring_keys, tokens, workspaces},
    error::StoreError,
    keys::{self, StoredKey},
    row::{self, Row},
    store::Store,
};

/// Credentials that work and were made with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveCredentials {
    /// Tokens.
    pub tokens: u64,
    /// Keys of callers.
    pub caller_keys: u64,
    /// When the last of them ends by itself; `None` if there are none.
    pub until: Option<Expiry>,
}

/// A table whose rows are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedTable {
    /// Organizations.
    Organizations,
    /// Workspaces.
    Workspaces,
    /// Tokens.
    Tokens,
    /// Callers.
    Callers,
    /// Callers' keys.
    CallerKeys,
    /// Messages that wait for the webhook.
    Messages,
    /// The head of the feed, one row.
    Feed,
}

/// A row's place in its table, to go on after.
#[derive(Clone, Debug, PartialEq)]
pub struct RowPlace(Value);

/// What became of some rows whose MACs were to be renewed.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewed {
    /// How many are sealed with the active key now.
    pub renewed: u64,
    /// How many were left alone, because they are not what tokend wrote.
    pub refused: u64,
    /// Where to go on; nothing if these were the last.
    pub next: Option<RowPlace>,
}

impl SealedTable {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Organizations, Self::Workspaces, Self::Tokens, Self::Callers, Self::CallerKeys, Self::Messages, Self::Feed];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organizations => Organization::TABLE,
            Self::Workspaces => Workspace::TABLE,
            Self::Tokens => Token::TABLE,
            Self::Callers => Caller::TABLE,
            Self::CallerKeys => CallerKey::TABLE,
            Self::Messages => Message::TABLE,
            Self::Feed => FeedHead::TABLE,
        }
    }
}

impl Store {
    /// The credentials made with `kid` that work now. Tokens of a deleted workspace do not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_credentials(&self, kid: Kid) -> Result<LiveCredentials, StoreError> {
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            live_credentials(&shared.connection, kid, now).await
        })
        .await
    }
}

impl WriteTx {
    /// Every key that this installation ever had, in the order in which they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stored_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.noting_failure(keys::stored(&self.tx).await)
    }

    /// Makes a key known. [`Insert::Taken`] if one of that id is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_key(&self, key: &KnownKey) -> Result<Insert, StoreError> {
        let KnownKey { kid, fingerprint, state } = key;
        let now = self.now().await?.unix_micros();
        let row = keyring_keys::ActiveModel {
            kid: Set(kid.to_string()),
            fingerprint: Set(fingerprint.as_bytes().to_vec()),
            create_time: Set(now),
            state: Set(state.as_str().to_owned()),
            activate_time: Set((*state == KeyState::Active).then_some(now)),
            retire_time: Set((*state == KeyState::Retired).then_some(now)),
        };
        self.insert(keyring_keys::Entity::insert(row)).await
    }

    /// Makes `kid` the active key, in place of the one that is; false if it is not one that only verifies. For
    /// [`Store::write_keys`](crate::Store::write_keys).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn activate_key(&self, kid: Kid) -> Result<bool, StoreError> {
        if !self.stored_keys().await?.iter().any(|stored| stored.key.kid == kid && stored.key.state == KeyState::Verifies) {
            return Ok(false);
        }
        // First, so that no two are ever active.
        let active = keyring_keys::ActiveModel { state: Set(KeyState::Verifies.as_str().to_owned()), ..Default::default() };
        let step_down = keyring_keys::Entity::update_many()
            .set(active)
            .filter(keyring_keys::Column::State.eq(KeyState::Active.as_str()))
            .filter(keyring_keys::Column::Kid.ne(kid.to_string()));
        self.change(&step_down.into_query()).await?;
        let now = self.now().await?.unix_micros();
        let key = keyring_keys::ActiveModel {
            state: Set(KeyState::Active.as_str().to_owned()),
            activate_time: Set(Some(now)),
            ..Default::default()
        };
        self.change(&from_verifying(kid, key)).await
    }

    /// Retires `kid` for good; false if it is not one that only verifies. For [`Store::write_keys`](crate::Store::write_keys), after
    /// making sure that nothing needs it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retire_key(&self, kid: Kid) -> Result<bool, StoreError> {
        let now = self.now().await?.unix_micros();
        let key = keyring_keys::ActiveModel {
            state: Set(KeyState::Retired.as_str().to_owned()),
            retire_time: Set(Some(now)),
            ..Default::default()
        };
        self.change(&from_verifying(kid, key)).await
    }

    /// The credentials made with `kid` that work at `now`. Tokens of a deleted workspace do not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_credentials(&self, kid: Kid, now: Timestamp) -> Result<LiveCredentials, StoreError> {
        self.noting_failure(live_credentials(&self.tx, kid, now).await)
    }

    /// How many rows of `table` are sealed with `kid`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rows_sealed_with(&self, table: SealedTable, kid: Kid) -> Result<u64, StoreError> {
        let mut count = Query::select();
        count.expr_as(Expr::cust("count(*)"), "count").from(Alias::new(table.as_str())).and_where(sealed_with(kid));
        row::count(self.find(&count).await?)
    }

    /// Seals anew, with the active key, what `kid` sealed: at most `limit` rows of `table`, after the place `after`. What is not
    /// intact stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_macs(
        &self,
        table: SealedTable,
        kid: Kid,
        after: Option<RowPlace>,
        limit: u64,
    ) -> Result<Renewed, StoreError> {
        match table {
            SealedTable::Organizations => self.renew::<Organization>(kid, after, limit).await,
            SealedTable::Workspaces => self.renew::<Workspace>(kid, after, limit).await,
            SealedTable::Tokens => self.renew::<Token>(kid, after, limit).await,
            SealedTable::Callers => self.renew::<Caller>(kid, after, limit).await,
            SealedTable::CallerKeys => self.renew::<CallerKey>(kid, after, limit).await,
            SealedTable::Messages => self.renew::<Message>(kid, after, limit).await,
            SealedTable::Feed => self.renew::<FeedHead>(kid, after, limit).await,
        }
    }

    /// The MAC of a credential's row. Refused if the credential was made with a key that was retired meanwhile: it would be dead from
    /// the start.
    pub(super) async fn seal_credential<T: Credential + Sealed>(&self, row: &T) -> Result<RowMac, StoreError> {
        let (ring, kid) = (self.ring().await?, row.digest().kid());
        if ring.verifies(kid) { Ok(ring.seal(row)) } else { Err(self.failing(StoreError::wrong_keys(WrongKeys::Retired(kid)))) }
    }

    /// What the database of a new installation is to know.
    pub(crate) fn keys_at_first(&self) -> Vec<KnownKey> {
        self.shared.keys.known_at_first()
    }

    async fn renew<T: Row>(&self, kid: Kid, after: Option<RowPlace>, limit: u64) -> Result<Renewed, StoreError> {
        let mut query = Query::select();
        query
            .column(Asterisk)
            .from(Alias::new(T::TABLE))
            .and_where(sealed_with(kid))
            .and_where_option(after.map(|RowPlace(id)| Expr::col(T::KEY).gt(id)))
            .order_by(T::KEY, Order::Asc)
            .limit(limit)
            .lock(LockType::Update);
        let rows = self.noting_failure(self.tx.query_all(&query).await)?;
        let mut done = Renewed { renewed: 0, refused: 0, next: None };
        for columns in &rows {
            let id: Value = self.noting_failure(columns.try_get::<T::Id>("", T::KEY))?.into();
            let read: Result<Locked<T>, _> = self.judge().await?.read(columns, "");
            match read {
                Ok(row) => {
                    let mac = self.seal(&*row).await?;
                    let mut update = Query::update();
                    update
                        .table(Alias::new(T::TABLE))
                        .value(MAC, mac.to_bytes().to_vec())
                        .and_where(Expr::col(T::KEY).eq(id.clone()))
                        .and_where(Expr::col(MAC).eq(row.mac.to_bytes().to_vec()));
                    self.change(&update).await?;
                    done.renewed += 1;
                }
                Err(StoreError::Corrupt { .. } | StoreError::Tampered { .. }) => done.refused += 1,
                Err(error) => return Err(self.failing(error)),
            }
            done.next = Some(RowPlace(id));
        }
        if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            done.next = None;
        }
        Ok(done)
    }
}

const MAC: &str = "mac";

fn from_verifying(kid: Kid, key: keyring_keys::ActiveModel) -> sea_orm::sea_query::UpdateStatement {
    keyring_keys::Entity::update_many()
        .set(key)
        .filter(keyring_keys::Column::Kid.eq(kid.to_string()))
        .filter(keyring_keys::Column::State.eq(KeyState::Verifies.as_str()))
        .into_query()
}

/// The second byte of a MAC is its key's digit.
fn sealed_with(kid: Kid) -> Expr {
    let second_byte = Func::cust("substr").args([Expr::col(MAC), Expr::val(2), Expr::val(1)]);
    Expr::from(second_byte).eq(vec![kid.digit()])
}

async fn live_credentials(connection: &impl ConnectionTrait, kid: Kid, now: Timestamp) -> Result<LiveCredentials, StoreError> {
    let (tokens, tokens_until) = live(connection, live_tokens(kid, now)).await?;
    let (caller_keys, keys_until) = live(connection, live_caller_keys(kid, now)).await?;
    Ok(LiveCredentials { tokens, caller_keys, until: later(tokens_until, keys_until) })
}

/// How many rows such a query counts, and when the last of them ends.
async fn live(connection: &impl ConnectionTrait, mut live: SelectStatement) -> Result<(u64, Option<Expiry>), StoreError> {
    live.expr_as(Expr::cust("count(*)"), "count")
        .expr_as(Expr::cust("max(expire_time)"), "latest")
        .expr_as(Expr::cust("count(*) - count(expire_time)"), "endless");
    let Some(found) = connection.query_one(&live).await? else { return Ok((0, None)) };
    let (latest, endless): (Option<i64>, i64) = (found.try_get("", "latest")?, found.try_get("", "endless")?);
    let until = match latest {
        _ if endless > 0 => Some(Expiry::Never),
        latest => latest.map(|micros| Expiry::At(Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX))),
    };
    Ok((row::count(Some(found))?, until))
}

fn live_tokens(kid: Kid, now: Timestamp) -> SelectStatement {
    let mut deleted = Query::select();
    deleted.column(workspaces::Column::Id).from(workspaces::Entity).and_where(workspaces::Column::State.eq(row::DELETED));
    tokens::Entity::find()
        .select_only()
        .filter(tokens::Column::Kid.eq(kid.to_string()))
        .filter(row::not_ended_by_itself(now))
        .filter(tokens::Column::Workspace.not_in_subquery(deleted))
        .into_query()
}

fn live_caller_keys(kid: Kid, now: Timestamp) -> SelectStatement {
    caller_keys::Entity::find()
        .select_only()
        .filter(caller_keys::Column::Kid.eq(kid.to_string()))
        .filter(caller_keys::Column::RevokeTime.is_null())
        .filter(caller_keys::Column::ExpireTime.gt(now.unix_micros()))
        .into_query()
}

fn later(one: Option<Expiry>, other: Option<Expiry>) -> Option<Expiry> {
    match (one, other) {
        (Some(Expiry::Never), _) | (_, Some(Expiry::Never)) => Some(Expiry::Never),
        (Some(Expiry::At(one)), Some(Expiry::At(other))) => Some(Expiry::At(one.max(other))),
        (one, other) => one.or(other),
    }
}

//! Seals rows again with the active key, so that the key that sealed them can be retired.

use sea_orm::{
    ConnectionTrait, Value,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Func, LockType, Order, Query},
};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::Kid,
    feed::{FeedEntry, FeedHead},
    organization::Organization,
    row_mac::Sealed,
    token::Token,
    webhook::Message,
    workspace::Workspace,
};

use crate::{
    error::StoreError,
    row::{self, Locked, Row},
    transaction::WriteTx,
};

const MAC: &str = "mac";

/// A table whose rows are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedTable {
    /// The table of organizations.
    Organizations,
    /// The table of workspaces.
    Workspaces,
    /// The table of tokens.
    Tokens,
    /// The table of callers.
    Callers,
    /// The table of caller keys.
    CallerKeys,
    /// The outbox of the webhook.
    Messages,
    /// The feed row.
    Feed,
    /// The entries of the feed.
    FeedEntries,
}

/// The place of a row in its table, after which the next step starts.
#[derive(Clone, Debug, PartialEq)]
pub struct RowCursor(Value);

/// The result of sealing some rows again.
#[derive(Clone, Debug, PartialEq)]
pub struct Resealed {
    /// The number of rows that are now sealed with the active key.
    pub renewed: u64,
    /// The number of rows that failed verification and were left unchanged.
    pub refused: u64,
    /// The place to continue after. `None` after the last row.
    pub next: Option<RowCursor>,
}

impl SealedTable {
    /// All sealed tables.
    pub const ALL: [Self; 8] = [
        Self::Organizations,
        Self::Workspaces,
        Self::Tokens,
        Self::Callers,
        Self::CallerKeys,
        Self::Messages,
        Self::Feed,
        Self::FeedEntries,
    ];

    /// Returns the name of the table.
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
            Self::FeedEntries => FeedEntry::TABLE,
        }
    }
}

impl WriteTx {
    /// Counts the rows of `table` that are sealed with `kid`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rows_sealed_with(&self, table: SealedTable, kid: Kid) -> Result<u64, StoreError> {
        let mut count = Query::select();
        count
            .expr_as(Expr::cust("count(*)"), "count")
            .from(Alias::new(table.as_str()))
            .and_where(sealed_with(kid));
        row::count(self.find(&count).await?)
    }

    /// Seals rows that `kid` sealed again with the active key: at most `limit` rows of `table`, after the place
    /// `after`. Rows that fail verification stay unchanged.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal(
        &self,
        table: SealedTable,
        kid: Kid,
        after: Option<RowCursor>,
        limit: u64,
    ) -> Result<Resealed, StoreError> {
        match table {
            SealedTable::Organizations => self.reseal_rows::<Organization>(kid, after, limit).await,
            SealedTable::Workspaces => self.reseal_rows::<Workspace>(kid, after, limit).await,
            SealedTable::Tokens => self.reseal_rows::<Token>(kid, after, limit).await,
            SealedTable::Callers => self.reseal_rows::<Caller>(kid, after, limit).await,
            SealedTable::CallerKeys => self.reseal_rows::<CallerKey>(kid, after, limit).await,
            SealedTable::Messages => self.reseal_rows::<Message>(kid, after, limit).await,
            SealedTable::Feed => self.reseal_rows::<FeedHead>(kid, after, limit).await,
            SealedTable::FeedEntries => self.reseal_rows::<FeedEntry>(kid, after, limit).await,
        }
    }

    async fn reseal_rows<T: Row>(
        &self,
        kid: Kid,
        after: Option<RowCursor>,
        limit: u64,
    ) -> Result<Resealed, StoreError> {
        let mut query = Query::select();
        query
            .column(Asterisk)
            .from(Alias::new(T::TABLE))
            .and_where(sealed_with(kid))
            .and_where_option(after.map(|RowCursor(id)| Expr::col(T::KEY).gt(id)))
            .order_by(T::KEY, Order::Asc)
            .limit(limit)
            .lock(LockType::Update);
        let rows = self.noting_failure(self.tx.query_all(&query).await)?;
        let mut done = Resealed {
            renewed: 0,
            refused: 0,
            next: None,
        };
        for columns in &rows {
            let id: Value = self.noting_failure(columns.try_get::<T::Id>("", T::KEY))?.into();
            let read: Result<Locked<T>, _> = self.row_verifier().await?.read(columns, "");
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
            done.next = Some(RowCursor(id));
        }
        if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            done.next = None;
        }
        Ok(done)
    }
}

/// Selects rows that a key sealed: the second byte of a MAC is the digit of its key.
fn sealed_with(kid: Kid) -> Expr {
    let second_byte = Func::cust("substr").args([Expr::col(MAC), Expr::val(2), Expr::val(1)]);
    Expr::from(second_byte).eq(vec![kid.digit()])
}

//! The webhook's outbox, in which messages stay until the receiver has them.
//!
//! ```text
//! WriteTx::enqueue --> row --Store::claim_messages--> Claim --Store::remove_message--> gone: the receiver has it
//!   with the change      ^      (moves due_time)        |
//!   that it reports      '---- Store::postpone_message -'   or no response: due again when the claim has expired
//! ```
//!
//! A claim moves `due_time` ahead and counts the attempt, in one change. So only one of several servers sends a
//! message, and if that server dies, another one sends the message after the claim has expired. The attempt number
//! fences the claim: a slow server can't postpone the attempt of another one. Each message has a MAC, so that someone
//! with write access to the database can't make tokend sign a forged message.
//!
//! A message can be sent twice, if a server dies or stalls between the receiver's response and the removal. No message
//! is lost.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    QueryTrait,
    sea_query::{Expr, LockBehavior, LockType, Query},
};
use tokend_core::{
    row_mac::Sealed,
    time::Timestamp,
    webhook::{Message, MessageId},
};

use crate::{
    error::StoreError,
    outbox::tables::webhook_outbox::{Column, Entity},
    row::{self, RowVerifier},
    store::Store,
    transaction::{Insert, WriteTx},
};

/// A message that the claimer may send until the claim expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What to send.
    pub message: Message,
    /// The number of this attempt, from 1.
    pub attempt: u64,
    /// When the message was stored.
    pub create_time: Timestamp,
    /// When the message was claimed, in database time.
    pub claim_time: Timestamp,
}

/// The size and age of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of messages, including those that are being sent.
    pub messages: u64,
    /// How long the oldest message has been waiting.
    pub oldest_age: Duration,
}

impl WriteTx {
    /// Puts a message into the outbox, due immediately. Returns [`Insert::Taken`], and changes nothing, if it is
    /// already there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enqueue(&self, message: &Message) -> Result<Insert, StoreError> {
        let mac = self.seal(message).await?;
        self.insert(Entity::insert(super::row::to_model(message, self.now().await?, &mac)))
            .await
    }

    async fn claim_messages(&self, limit: u64, lease: Duration) -> Result<Vec<Result<Claim, StoreError>>, StoreError> {
        let now = self.now().await?;
        let due = Entity::find()
            .filter(Column::DueTime.lte(now.unix_micros()))
            .order_by_asc(Column::DueTime)
            .limit(limit)
            // Skip rows that another server is claiming.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let found = self.find_all(&due.into_query()).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = found
            .iter()
            .map(|row| row.try_get("", "id"))
            .collect::<Result<_, _>>()?;
        let mut update = Query::update();
        update
            .table(Entity)
            .value(Column::Attempts, Expr::col(Column::Attempts).add(1))
            .value(Column::DueTime, later(now, lease).unix_micros())
            .and_where(Column::Id.is_in(ids));
        self.change(&update).await?;
        let row_verifier = self.row_verifier().await?;
        row::keep_each(found.iter().map(|columns| read(row_verifier, columns, now)))
    }
}

impl Store {
    /// Returns whether a message is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_message_due(&self) -> Result<bool, StoreError> {
        self.run(|shared| async move {
            let mut query = Query::select();
            query.expr_as(Expr::cust("min(due_time)"), "due").from(Entity);
            shared.select_now(&mut query);
            let Some(row) = shared.connection.query_one(&query).await? else {
                return Ok(false);
            };
            let (due, now): (Option<i64>, _) = (row.try_get("", "due")?, shared.read_now(&row)?);
            Ok(due.is_some_and(|due| due <= now.unix_micros()))
        })
        .await
    }

    /// Claims at most `limit` due messages for the time `lease`, starting with those that have been due for longest.
    /// Returns an error in place of a message that can't be read or was tampered with; that message stays.
    ///
    /// # Errors
    /// [`StoreError`] if no message was claimed.
    pub async fn claim_messages(
        &self,
        limit: u64,
        lease: Duration,
    ) -> Result<Vec<Result<Claim, StoreError>>, StoreError> {
        self.write(async move |tx: &WriteTx| tx.claim_messages(limit, lease).await)
            .await
    }

    /// Removes a message that the receiver has.
    ///
    /// # Errors
    /// [`StoreError`]; then the message will be sent again.
    pub async fn remove_message(&self, id: &MessageId) -> Result<(), StoreError> {
        let delete = Entity::delete_by_id(id.as_str());
        self.write(async move |tx: &WriteTx| tx.change(&delete.into_query()).await.map(|_| ()))
            .await
    }

    /// Returns a claim: its message is due again after `delay`. Does nothing if another server has claimed the message
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; then the message is due when the claim has expired.
    pub async fn postpone_message(&self, claim: &Claim, delay: Duration) -> Result<(), StoreError> {
        let (id, attempt) = (claim.message.id.to_string(), claim.attempt);
        self.write(async move |tx: &WriteTx| {
            let due = later(tx.now().await?, delay);
            let mut update = Query::update();
            update
                .table(Entity)
                .value(Column::DueTime, due.unix_micros())
                .and_where(Column::Id.eq(id))
                .and_where(Column::Attempts.eq(attempt.cast_signed()));
            tx.change(&update).await.map(|_| ())
        })
        .await
    }

    /// Returns the size and age of the outbox.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn outbox_backlog(&self) -> Result<Backlog, StoreError> {
        self.run(|shared| async move {
            let mut query = Query::select();
            query
                .expr_as(Expr::cust("count(*)"), row::COUNT)
                .expr_as(Expr::cust("min(create_time)"), "oldest")
                .from(Entity);
            shared.select_now(&mut query);
            let Some(found) = shared.connection.query_one(&query).await? else {
                return Ok(Backlog::default());
            };
            let (oldest, now): (Option<i64>, _) = (found.try_get("", "oldest")?, shared.read_now(&found)?);
            let oldest = oldest.and_then(|micros| Timestamp::from_unix_micros(micros).ok());
            let oldest_age = oldest.map_or(Duration::ZERO, |oldest| now.saturating_since(oldest));
            Ok(Backlog {
                messages: row::count(Some(found))?,
                oldest_age,
            })
        })
        .await
    }
}

/// Reads a claimed row.
fn read(row_verifier: &RowVerifier, columns: &QueryResult, claim_time: Timestamp) -> Result<Claim, StoreError> {
    let message = row_verifier.read::<Message>(columns, "")?.into_inner();
    let (attempts, create_time): (i64, i64) = (columns.try_get("", "attempts")?, columns.try_get("", "create_time")?);
    let corrupt = |problem| StoreError::corrupt(Message::TABLE, message.id.to_string(), problem);
    Ok(Claim {
        attempt: row::column("attempts", u64::try_from(attempts))
            .map_err(corrupt)?
            .saturating_add(1),
        create_time: row::time("create_time", create_time).map_err(corrupt)?,
        claim_time,
        message,
    })
}

/// Adds `span` to `now`, limited to the latest valid time.
fn later(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

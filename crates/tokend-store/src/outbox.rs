//! The webhook's outbox: messages stay in it until the receiver has them.
//!
//! ```text
//! WriteTx::enqueue --> row --Store::claim_messages--> Claim --Store::remove_message--> gone: the receiver has it
//!   with the change      ^      (moves due_time)        |
//!   that it tells of     '---- Store::postpone ---------'   or nobody says anything: due again when the claim has run out
//! ```
//!
//! To claim is to move `due_time` ahead and to count the try, in one change: of several servers one tries, and what a server had
//! claimed when it died is tried by another. The number of the try is the claim's fence: who was slow can't put off somebody else's
//! try. A message carries a MAC, so that who can write to the database can't have tokend sign what it did not say.
//!
//! A message can be sent twice, when a server dies or stalls between the receiver's answer and the removal; never is one lost.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    sea_query::{Expr, LockBehavior, LockType, Query},
};
use tokend_core::{
    row_mac::Sealed,
    time::Timestamp,
    webhook::{Message, MessageId},
};

use crate::{
    entity::webhook_outbox::{Column, Entity},
    error::StoreError,
    row::{self, Judge},
    store::Store,
    write::{Insert, WriteTx},
};

/// A message that is the claimer's to send, until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What to send.
    pub message: Message,
    /// Which try this is, from 1.
    pub attempt: u64,
    /// Since when it waits.
    pub create_time: Timestamp,
    /// When it was claimed, in database time.
    pub claim_time: Timestamp,
}

/// What is in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages, those included that are being sent.
    pub messages: u64,
    /// How long the oldest of them has been waiting.
    pub oldest_age: Duration,
}

impl WriteTx {
    /// Puts a message into the outbox, due at once. [`Insert::Taken`] if it is there already; that one stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enqueue(&self, message: &Message) -> Result<Insert, StoreError> {
        let mac = self.seal(message).await?;
        self.insert(Entity::insert(row::message_to_model(message, self.now().await?, &mac))).await
    }

    async fn claim_messages(&self, limit: u64, lease: Duration) -> Result<Vec<Result<Claim, StoreError>>, StoreError> {
        let now = self.now().await?;
        let due = Entity::find()
            .filter(Column::DueTime.lte(now.unix_micros()))
            .order_by_asc(Column::DueTime)
            .limit(limit)
            // Rows that another server is claiming are its own business.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let found = self.find_all(&due.into_query()).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = found.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
        let mut update = Query::update();
        update
            .table(Entity)
            .value(Column::Attempts, Expr::col(Column::Attempts).add(1))
            .value(Column::DueTime, later(now, lease).unix_micros())
            .and_where(Column::Id.is_in(ids));
        self.change(&update).await?;
        let judge = self.judge().await?;
        found.iter().map(|columns| row::judged(read(judge, columns, now))).collect()
    }
}

impl Store {
    /// Whether a message waits to be sent now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_message_due(&self) -> Result<bool, StoreError> {
        self.run(|shared| async move {
            let mut query = Query::select();
            query.expr_as(Expr::cust("min(due_time)"), "due").from(Entity);
            shared.select_now(&mut query);
            let Some(row) = shared.connection.query_one(&query).await? else { return Ok(false) };
            let (due, now): (Option<i64>, _) = (row.try_get("", "due")?, shared.read_now(&row)?);
            Ok(due.is_some_and(|due| due <= now.unix_micros()))
        })
        .await
    }

    /// Claims messages that are due, at most `limit`, those first that have been due for longest: for `lease` nobody else claims them.
    /// One that can't be read, or is not what tokend wrote, is an error in its place, and stays.
    ///
    /// # Errors
    /// [`StoreError`] of all of them: nothing was claimed.
    pub async fn claim_messages(&self, limit: u64, lease: Duration) -> Result<Vec<Result<Claim, StoreError>>, StoreError> {
        self.write(move |tx: &WriteTx| Box::pin(tx.claim_messages(limit, lease))).await
    }

    /// Removes a message that the receiver has.
    ///
    /// # Errors
    /// [`StoreError`]; then it will be sent once more.
    pub async fn remove_message(&self, id: &MessageId) -> Result<(), StoreError> {
        let delete = Entity::delete_by_id(id.as_str());
        self.write(move |tx: &WriteTx| Box::pin(async move { tx.change(&delete.into_query()).await.map(|_| ()) })).await
    }

    /// Gives a claim back: its message is due again after `delay`. Does nothing where somebody else has claimed it meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; then it will be due when the claim has run out.
    pub async fn postpone_message(&self, claim: &Claim, delay: Duration) -> Result<(), StoreError> {
        let (id, attempt) = (claim.message.id.to_string(), claim.attempt);
        self.write(move |tx: &WriteTx| {
            Box::pin(async move {
                let due = later(tx.now().await?, delay);
                let mut update = Query::update();
                update
                    .table(Entity)
                    .value(Column::DueTime, due.unix_micros())
                    .and_where(Column::Id.eq(id))
                    .and_where(Column::Attempts.eq(attempt.cast_signed()));
                tx.change(&update).await.map(|_| ())
            })
        })
        .await
    }

    /// How much there is in the outbox.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn outbox_backlog(&self) -> Result<Backlog, StoreError> {
        self.run(|shared| async move {
            let mut query = Query::select();
            query.expr_as(Expr::cust("count(*)"), row::COUNT).expr_as(Expr::cust("min(create_time)"), "oldest").from(Entity);
            shared.select_now(&mut query);
            let Some(found) = shared.connection.query_one(&query).await? else { return Ok(Backlog::default()) };
            let (oldest, now): (Option<i64>, _) = (found.try_get("", "oldest")?, shared.read_now(&found)?);
            let oldest = oldest.and_then(|micros| Timestamp::from_unix_micros(micros).ok());
            let oldest_age = oldest.map_or(Duration::ZERO, |oldest| now.saturating_since(oldest));
            Ok(Backlog { messages: row::count(Some(found))?, oldest_age })
        })
        .await
    }
}

/// The row as it is after it was claimed.
fn read(judge: &Judge, columns: &QueryResult, claim_time: Timestamp) -> Result<Claim, StoreError> {
    let message = judge.read::<Message>(columns, "")?.into_inner();
    let (attempts, create_time): (i64, i64) = (columns.try_get("", "attempts")?, columns.try_get("", "create_time")?);
    let corrupt = |problem| StoreError::corrupt(Message::TABLE, message.id.to_string(), problem);
    Ok(Claim {
        attempt: row::column("attempts", u64::try_from(attempts)).map_err(corrupt)?.saturating_add(1),
        create_time: row::time("create_time", create_time).map_err(corrupt)?,
        claim_time,
        message,
    })
}

/// Held within the years that there are.
fn later(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

//! Appending to the audit log, in the transaction of what is told.
//!
//! The head of the chain is locked after everything that the change itself locks, and before the feed's row. Where a chain has no
//! head yet it is begun, which the head of the installation's chain counts: a chain that is deleted whole is missed.

use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait};
use tokend_core::{
    audit::{Chain, Event, EventType, Head, Origin, Outcome, Record, RowAfter},
    row_mac::Sealed,
    time::Timestamp,
};

use super::{Insert, WriteTx};
use crate::{
    entity::{audit_chains, audit_events},
    error::StoreError,
    row::audit,
};

const CHAINS: &str = "audit_chains";
const EVENTS: &str = "audit_events";

impl WriteTx {
    /// What an event tells of the row that the change left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn row_is<T: Sealed>(&self, row: &T) -> Result<RowAfter, StoreError> {
        Ok(RowAfter::Is(self.ring().await?.audit_digest(row)))
    }

    /// Appends an event to its chain. After everything else that the transaction locks; of several events, that of the
    /// installation's chain first.
    ///
    /// # Errors
    /// [`StoreError`]; [`Tampered`](StoreError::Tampered) if someone else has written to the chain's head: nothing goes on from
    /// there.
    pub async fn audit(&self, event: Event) -> Result<(), StoreError> {
        let head = match self.lock_head(&event.chain).await? {
            Some(head) => head,
            None => self.begin_chain(&event.chain, event.kind).await?,
        };
        let now = self.now().await?;
        self.append(head, event, now).await.map(|_| ())
    }

    /// Begins the installation's chain with its first event. False if there is one.
    pub(crate) async fn begin_log(&self, event: Event) -> Result<bool, StoreError> {
        let now = self.now().await?;
        let head = Head::new(Chain::Installation, now, self.ring().await?);
        if !self.insert_head(&head).await? {
            return Ok(false);
        }
        self.append(head, event, now).await?;
        Ok(true)
    }

    /// Begins a workspace's chain. That of a workspace which is not being made just now is begun late, and says so.
    async fn begin_chain(&self, chain: &Chain, with: EventType) -> Result<Head, StoreError> {
        let missing = || StoreError::tampered(CHAINS, Chain::INSTALLATION.to_owned());
        if *chain == Chain::Installation {
            return Err(missing());
        }
        let counting = self.lock_head(&Chain::Installation).await?.ok_or_else(missing)?;
        let counting = Head { chains: counting.chains + 1, kid: self.ring().await?.active_kid(), ..counting };
        self.update_head(&counting).await?;
        let now = self.now().await?;
        let head = Head::new(chain.clone(), now, self.ring().await?);
        if !self.insert_head(&head).await? {
            return Err(StoreError::tampered(CHAINS, chain.to_string()));
        }
        if with == EventType::WorkspaceCreated {
            return Ok(head);
        }
        self.append(head, log_begun(chain.clone()), now).await
    }

    pub(crate) async fn lock_head(&self, chain: &Chain) -> Result<Option<Head>, StoreError> {
        let query = audit_chains::Entity::find_by_id(chain.as_str()).lock_exclusive();
        let Some(found) = self.find(&query.into_query()).await? else { return Ok(None) };
        audit::head(self.ring().await?, audit_chains::Model::from_query_result(&found, "")?).map(Some)
    }

    /// Puts `head` in place of the one that is locked.
    pub(crate) async fn update_head(&self, head: &Head) -> Result<(), StoreError> {
        let update = audit_chains::Entity::update_many()
            .set(audit::head_to_model(head, self.ring().await?)?)
            .filter(audit_chains::Column::Chain.eq(head.chain.as_str()));
        if self.change(&update.into_query()).await? {
            return Ok(());
        }
        Err(StoreError::tampered(CHAINS, head.chain.to_string()))
    }

    async fn insert_head(&self, head: &Head) -> Result<bool, StoreError> {
        let row = audit::head_to_model(head, self.ring().await?)?;
        Ok(self.insert(audit_chains::Entity::insert(row)).await? == Insert::Done)
    }

    async fn append(&self, head: Head, event: Event, now: Timestamp) -> Result<Head, StoreError> {
        let record = Record::append(&head, event, now, self.ring().await?);
        let head = head.after(&record);
        let key = format!("{}/{}", head.chain, head.sequence);
        if self.insert(audit_events::Entity::insert(audit::record_to_model(record))).await? != Insert::Done {
            // Behind the head there was a record already.
            return Err(StoreError::tampered(EVENTS, key));
        }
        self.update_head(&head).await?;
        Ok(head)
    }
}

/// The first record of a chain whose subject is older than the log.
pub(crate) fn log_begun(chain: Chain) -> Event {
    Event {
        resource: if chain == Chain::Installation { String::new() } else { chain.parent() },
        chain,
        kind: EventType::LogBegun,
        origin: Origin::default(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "what was done before is not on record".to_owned(),
        row: RowAfter::None,
    }
}

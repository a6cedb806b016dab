//! Appends to the audit log, in the transaction of the recorded change.
//!
//! The head of the chain is locked after everything that the change itself locks, and before the feed's row. A chain
//! without a head is started, and the head of the installation's chain counts it, so that the deletion of a whole chain
//! is detected.

use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait, sea_query::OnConflict};
use tokend_core::{
    audit::{Chain, Event, EventType, Head, Origin, Outcome, Record, RowAfter},
    time::Timestamp,
};

use crate::{
    audit::{
        row as audit,
        tables::{audit_chains, audit_events},
    },
    error::StoreError,
    transaction::{Insert, WriteTx},
};

const CHAINS: &str = "audit_chains";
const EVENTS: &str = "audit_events";

/// The maximum number of records that one statement inserts.
const INSERTED_AT_ONCE: usize = 500;

impl WriteTx {
    /// Appends events to their chain, in their order. All events belong to the same chain.
    ///
    /// # Errors
    /// [`StoreError`]; [`Tampered`](StoreError::Tampered) if someone else has written to the chain's head. No record
    /// can follow a tampered head.
    pub(crate) async fn append_to_chain(&self, events: &[Event]) -> Result<(), StoreError> {
        let Some(first) = events.first() else { return Ok(()) };
        let head = match self.lock_head(&first.chain).await? {
            Some(head) => head,
            None => self.begin_chain(&first.chain, first.kind).await?,
        };
        let now = self.now().await?;
        self.append(head, events, now).await.map(|_| ())
    }

    /// Starts the installation's chain with its first event. Returns false if the chain exists.
    pub(crate) async fn begin_log(&self, event: Event) -> Result<bool, StoreError> {
        let now = self.now().await?;
        let head = Head::new(Chain::Installation, now, self.ring().await?);
        if !self.insert_head(&head).await? {
            return Ok(false);
        }
        self.append(head, &[event], now).await?;
        Ok(true)
    }

    /// Starts a workspace's chain. If the workspace already exists, its chain starts late, with an event that records
    /// this.
    async fn begin_chain(&self, chain: &Chain, with: EventType) -> Result<Head, StoreError> {
        let missing = || StoreError::tampered(CHAINS, Chain::INSTALLATION.to_owned());
        if *chain == Chain::Installation {
            return Err(missing());
        }
        let counting = self.lock_head(&Chain::Installation).await?.ok_or_else(missing)?;
        let counting = Head {
            chains: counting.chains + 1,
            kid: self.ring().await?.active_kid(),
            ..counting
        };
        self.update_head(&counting).await?;
        let now = self.now().await?;
        let head = Head::new(chain.clone(), now, self.ring().await?);
        if !self.insert_head(&head).await? {
            return Err(StoreError::tampered(CHAINS, chain.to_string()));
        }
        if with == EventType::WorkspaceCreated {
            return Ok(head);
        }
        self.append(head, &[log_begun(chain.clone())], now).await
    }

    pub(crate) async fn lock_head(&self, chain: &Chain) -> Result<Option<Head>, StoreError> {
        let query = audit_chains::Entity::find_by_id(chain.as_str()).lock_exclusive();
        let Some(found) = self.find(&query.into_query()).await? else {
            return Ok(None);
        };
        audit::head(self.ring().await?, audit_chains::Model::from_query_result(&found, "")?).map(Some)
    }

    /// Replaces the locked head with `head`.
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

    async fn append(&self, head: Head, events: &[Event], now: Timestamp) -> Result<Head, StoreError> {
        let ring = self.ring().await?;
        let mut last = head;
        for some in events.chunks(INSERTED_AT_ONCE) {
            let first = last.sequence + 1;
            let mut records = Vec::with_capacity(some.len());
            for event in some {
                let record = Record::append(&last, event.clone(), now, ring);
                last = last.after(&record);
                records.push(super::row::record_to_model(record));
            }
            let insert =
                audit_events::Entity::insert_many(records).on_conflict(OnConflict::new().do_nothing().to_owned());
            if self.count_changed(&insert.into_query()).await? != some.len() as u64 {
                // A record after the head already exists.
                return Err(StoreError::tampered(EVENTS, format!("{}/{first}", last.chain)));
            }
        }
        self.update_head(&last).await?;
        Ok(last)
    }
}

/// Returns the first event of a chain whose subject is older than the log.
pub(crate) fn log_begun(chain: Chain) -> Event {
    Event {
        resource: if chain == Chain::Installation {
            String::new()
        } else {
            chain.parent()
        },
        chain,
        kind: EventType::LogBegun,
        origin: Origin::default(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "what was done before is not on record".to_owned(),
        row: RowAfter::None,
    }
}

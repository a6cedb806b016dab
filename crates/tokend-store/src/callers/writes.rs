use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    caller::{Caller, CallerKey, CertificateSan, Role},
    change::Change,
    name::{CallerId, CallerKeyName},
    time::Timestamp,
};

use crate::{
    callers::tables::{caller_certificate_sans, caller_keys, callers},
    error::StoreError,
    notices::tables::caller_key_notices,
    row::{self, Locked},
    transaction::{Insert, WriteTx},
    usage::tables::caller_key_usage,
};

impl WriteTx {
    /// Reads a caller and locks it until the transaction ends. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller(&self, id: &CallerId) -> Result<Option<Locked<Caller>>, StoreError> {
        self.read_one(&callers::Entity::find_by_id(id.as_str()).lock_exclusive().into_query())
            .await
    }

    /// Reads every ADMIN and locks them until the transaction ends, in the order of ids. Of two concurrent changes that
    /// remove ADMINs, the second sees what the first has left. Call this before any other lock on callers or keys.
    /// Leaves out rows that fail verification: they authenticate nobody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_admins(&self) -> Result<Vec<Locked<Caller>>, StoreError> {
        let query = callers::Entity::find()
            .filter(callers::Column::Role.eq(Role::Admin.as_str()))
            .order_by_asc(callers::Column::Id)
            .lock_exclusive();
        let read = self.read_all(&query.into_query()).await?;
        let is_refused = |row: &_| matches!(row, Err(StoreError::Corrupt { .. } | StoreError::Tampered { .. }));
        read.into_iter().filter(|row| !is_refused(row)).collect()
    }

    /// Inserts a caller. Returns [`Insert::Taken`] if the id exists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_caller(&self, caller: &Caller) -> Result<Insert, StoreError> {
        let mac = self.seal(caller).await?;
        let row = super::row::to_model(caller, &mac);
        let inserted = self.insert(callers::Entity::insert(row)).await?;
        if inserted == Insert::Done {
            self.record(Change::CallerCreated(caller.clone()));
        }
        Ok(inserted)
    }

    /// Registers the certificate names of a caller that was just inserted. Returns the first name that another caller
    /// owns, if any; then the transaction must not be committed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_certificate_sans(&self, caller: &Caller) -> Result<Option<CertificateSan>, StoreError> {
        let mut sans: Vec<_> = caller.certificate_sans.iter().collect();
        // Always in the same order, so that no two transactions wait for each other's names.
        sans.sort_unstable();
        for san in sans {
            let row = caller_certificate_sans::ActiveModel {
                san: Set(san.to_string()),
                caller: Set(caller.id.to_string()),
            };
            if self.insert(caller_certificate_sans::Entity::insert(row)).await? != Insert::Done {
                return Ok(Some(san.clone()));
            }
        }
        Ok(None)
    }

    /// Deletes a caller with its keys and certificate names, and returns it. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_caller(&self, id: &CallerId) -> Result<Option<Caller>, StoreError> {
        let Some(caller) = self.caller(id).await? else {
            return Ok(None);
        };
        let own = caller_keys::Entity::find()
            .select_only()
            .column(caller_keys::Column::Id)
            .filter(caller_keys::Column::Caller.eq(id.as_str()));
        let usage = caller_key_usage::Entity::delete_many();
        let usage = usage.filter(caller_key_usage::Column::Key.in_subquery(own.into_query()));
        self.change(&usage.into_query()).await?;
        let own = caller_keys::Entity::find()
            .select_only()
            .column(caller_keys::Column::Id)
            .filter(caller_keys::Column::Caller.eq(id.as_str()));
        let notices = caller_key_notices::Entity::delete_many();
        let notices = notices.filter(caller_key_notices::Column::Key.in_subquery(own.into_query()));
        self.change(&notices.into_query()).await?;
        let keys = caller_keys::Entity::delete_many().filter(caller_keys::Column::Caller.eq(id.as_str()));
        self.change(&keys.into_query()).await?;
        let sans = caller_certificate_sans::Entity::delete_many()
            .filter(caller_certificate_sans::Column::Caller.eq(id.as_str()));
        self.change(&sans.into_query()).await?;
        self.change(&callers::Entity::delete_by_id(id.as_str()).into_query())
            .await?;
        let at = self.now().await?;
        let caller = caller.into_inner();
        self.record(Change::CallerDeleted {
            caller: caller.clone(),
            at,
        });
        Ok(Some(caller))
    }

    /// Reads a caller's key and locks it until the transaction ends. `None` if the caller has no key with that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller_key(&self, name: &CallerKeyName) -> Result<Option<Locked<CallerKey>>, StoreError> {
        let query = caller_keys::Entity::find()
            .filter(caller_keys::Column::Caller.eq(name.caller.as_str()))
            .filter(caller_keys::Column::Id.eq(name.id.as_bytes().to_vec()))
            .lock_exclusive();
        self.read_one(&query.into_query()).await
    }

    /// Counts a caller's keys that work at `now`. Lock the caller first, so that no other write changes the number
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_caller_keys(&self, caller: &CallerId, now: Timestamp) -> Result<u64, StoreError> {
        let live = caller_keys::Entity::find()
            .filter(caller_keys::Column::Caller.eq(caller.as_str()))
            .filter(caller_keys::Column::RevokeTime.is_null())
            .filter(caller_keys::Column::ExpireTime.gt(now.unix_micros()));
        row::count(self.find(&row::counting(live)).await?)
    }

    /// Inserts a key. Returns [`Insert::NoParent`] if its caller does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_caller_key(&self, key: &CallerKey) -> Result<Insert, StoreError> {
        if self.caller(&key.name.caller).await?.is_none() {
            return Ok(Insert::NoParent);
        }
        let mac = self.seal_credential(key).await?;
        let inserted = self
            .insert(caller_keys::Entity::insert(super::row::key_to_model(key, &mac)))
            .await?;
        if inserted == Insert::Done {
            self.plan_key_notices(key).await?;
            self.record(Change::CallerKeyCreated(key.clone()));
        }
        Ok(inserted)
    }

    /// Revokes a key and returns it. `None` if the row has changed since it was read, or if the key was revoked
    /// already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_caller_key(
        &self,
        read: &Locked<CallerKey>,
        at: Timestamp,
    ) -> Result<Option<Locked<CallerKey>>, StoreError> {
        let key = CallerKey {
            revoke_time: Some(at),
            ..(**read).clone()
        };
        let mac = self.seal(&key).await?;
        let changed = caller_keys::ActiveModel {
            revoke_time: Set(Some(at.unix_micros())),
            mac: Set(mac.to_bytes().to_vec()),
            ..Default::default()
        };
        let update = caller_keys::Entity::update_many()
            .set(changed)
            .filter(caller_keys::Column::Caller.eq(key.name.caller.as_str()))
            .filter(caller_keys::Column::Id.eq(key.name.id.as_bytes().to_vec()))
            .filter(caller_keys::Column::Mac.eq(read.mac.to_bytes().to_vec()))
            .filter(caller_keys::Column::RevokeTime.is_null());
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        self.record(Change::CallerKeyRevoked { key: key.clone(), at });
        Ok(Some(Locked::new(key, mac)))
    }
}

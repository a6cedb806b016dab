use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    caller::{Caller, CallerKey, Role},
    certificate_san::CertificateSan,
    ending::Ending,
    name::{CallerId, CallerKeyName},
    time::Timestamp,
};

use super::{Insert, Locked, WriteTx};
use crate::{
    entity::{caller_certificate_sans, caller_key_notices, caller_key_usage, caller_keys, callers},
    error::StoreError,
    row,
};

impl WriteTx {
    /// A caller, locked until the transaction ends. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller(&self, id: &CallerId) -> Result<Option<Locked<Caller>>, StoreError> {
        self.read_one(&callers::Entity::find_by_id(id.as_str()).lock_exclusive().into_query()).await
    }

    /// Every ADMIN, locked until the transaction ends, in the order of ids: of two changes at once that take ADMINs away, the second sees
    /// what the first has left. To be called before any other lock on callers or keys. Rows that can't be read or were tampered with are
    /// left out: they authenticate nobody.
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

    /// Inserts a caller. [`Insert::Taken`] if there is one of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_caller(&self, caller: &Caller) -> Result<Insert, StoreError> {
        let mac = self.seal(caller).await?;
        self.insert(callers::Entity::insert(row::caller_to_model(caller, &mac))).await
    }

    /// Makes the caller's certificate names its own: right after its insertion. The first that another caller has, if there is one;
    /// then the transaction must not be committed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_certificate_sans(&self, caller: &Caller) -> Result<Option<CertificateSan>, StoreError> {
        let mut sans: Vec<_> = caller.certificate_sans.iter().collect();
        // In one order, so that no two transactions wait for each other's names.
        sans.sort_unstable();
        for san in sans {
            let row = caller_certificate_sans::ActiveModel { san: Set(san.to_string()), caller: Set(caller.id.to_string()) };
            if self.insert(caller_certificate_sans::Entity::insert(row)).await? != Insert::Done {
                return Ok(Some(san.clone()));
            }
        }
        Ok(None)
    }

    /// Deletes a caller with its keys and certificate names, and returns it. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_caller(&self, id: &CallerId) -> Result<Option<Caller>, StoreError> {
        let Some(caller) = self.caller(id).await? else { return Ok(None) };
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
        let sans = caller_certificate_sans::Entity::delete_many().filter(caller_certificate_sans::Column::Caller.eq(id.as_str()));
        self.change(&sans.into_query()).await?;
        self.change(&callers::Entity::delete_by_id(id.as_str()).into_query()).await?;
        let at = self.now().await?;
        self.ends(Ending::Caller { id: id.clone(), create_time: caller.create_time, at });
        Ok(Some(caller.into_inner()))
    }

    /// A caller's key, locked until the transaction ends. `None` if the caller has none of that id.
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

    /// How many of a caller's keys work at `now`. Lock the caller first: then no other write changes the number meanwhile.
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

    /// Inserts a key. [`Insert::NoParent`] if its caller does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_caller_key(&self, key: &CallerKey) -> Result<Insert, StoreError> {
        if self.caller(&key.name.caller).await?.is_none() {
            return Ok(Insert::NoParent);
        }
        let mac = self.seal_credential(key).await?;
        let inserted = self.insert(caller_keys::Entity::insert(row::caller_key_to_model(key, &mac))).await?;
        if inserted == Insert::Done {
            self.plan_key_notices(key).await?;
        }
        Ok(inserted)
    }

    /// Ends a key and returns it as it is now. `None` if the row is no longer what was read, or was revoked already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_caller_key(
        &self,
        read: &Locked<CallerKey>,
        at: Timestamp,
    ) -> Result<Option<Locked<CallerKey>>, StoreError> {
        let key = CallerKey { revoke_time: Some(at), ..(**read).clone() };
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
        self.ends(Ending::CallerKey { name: key.name.clone(), at });
        Ok(Some(Locked::new(key, mac)))
    }
}

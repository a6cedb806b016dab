//! What was told of a token's end. Beside the token, in a table of its own: a token is never updated but to end it.

use std::time::Duration;

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait,
    sea_query::{Expr, Query},
};
use tokend_core::{
    credential::CredentialId,
    expiry_notice::Told,
    time::Timestamp,
    token::{Circumstances, Token},
    workspace::WorkspaceState,
};

use super::{Insert, WriteTx};
use crate::{
    entity::token_notices::{ActiveModel, Column, Entity, Model},
    error::StoreError,
    row,
};

const TABLE: &str = "token_notices";

/// What one server does for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Telling of tokens' ends.
    Notices,
    /// Purging tokens that have ended.
    Retention,
}

/// What is noted of a token's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// What was told of it.
    pub told: Told,
    /// From when on there may be something to tell. `None`: nothing ever.
    pub look_time: Option<Timestamp>,
    /// When its end by expiry was put on record.
    pub end_time: Option<Timestamp>,
}

impl WriteTx {
    /// Whether this transaction may do the duty: no other server is at it just now. Never waits, and what it takes is given back with the
    /// transaction, by a server that dies too. It spares work; that nothing is done twice rests on conditional changes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn takes(&self, duty: Duty) -> Result<bool, StoreError> {
        if self.shared.is_sqlite() {
            return Ok(true);
        }
        let lock: i64 = match duty {
            Duty::Notices => 8_390_042_706_830_227,
            Duty::Retention => 8_390_042_706_830_228,
        };
        let mut query = Query::select();
        query.expr_as(Expr::cust(format!("pg_try_advisory_xact_lock({lock})")), "taken");
        Ok(self.find(&query).await?.map_or(Ok(false), |row| row.try_get("", "taken"))?)
    }

    /// What is noted of a token's end; `None` if nothing ever was. Lock its workspace first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn noted(&self, token: CredentialId) -> Result<Option<Noted>, StoreError> {
        let query = Entity::find_by_id(token.as_bytes().to_vec());
        let Some(found) = self.find(&query.into_query()).await? else { return Ok(None) };
        let read = read(Model::from_query_result(&found, "")?);
        read.map(Some).map_err(|problem| StoreError::corrupt(TABLE, token.to_string(), problem))
    }

    /// Notes `noted` in place of what was `read`. False if that is no longer what is noted: then nothing was changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(&self, token: CredentialId, read: Option<Noted>, noted: Noted) -> Result<bool, StoreError> {
        let Noted { told, look_time, end_time } = noted;
        let row = ActiveModel {
            token: NotSet,
            told: Set(told.bits()),
            look_time: Set(look_time.map(Timestamp::unix_micros)),
            end_time: Set(end_time.map(Timestamp::unix_micros)),
        };
        let Some(read) = read else {
            let row = ActiveModel { token: Set(token.as_bytes().to_vec()), ..row };
            return Ok(self.insert(Entity::insert(row)).await? == Insert::Done);
        };
        let update = Entity::update_many()
            .set(row)
            .filter(Column::Token.eq(token.as_bytes().to_vec()))
            .filter(Column::Told.eq(read.told.bits()))
            .filter(match read.end_time {
                Some(end_time) => Column::EndTime.eq(end_time.unix_micros()),
                None => Column::EndTime.is_null(),
            });
        self.change(&update.into_query()).await
    }

    /// Has a token looked at later: it can't be judged now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look_later(&self, token: CredentialId, later: Duration) -> Result<(), StoreError> {
        let then = self.now().await?.plus(later).unwrap_or(Timestamp::MAX);
        let update = Entity::update_many()
            .col_expr(Column::LookTime, Expr::value(then.unix_micros()))
            .filter(Column::Token.eq(token.as_bytes().to_vec()))
            .filter(Column::LookTime.is_not_null());
        self.change(&update.into_query()).await.map(|_| ())
    }

    /// Forgets what is noted of a token that is purged.
    pub(super) async fn forget_notices(&self, token: CredentialId) -> Result<(), StoreError> {
        self.change(&Entity::delete_by_id(token.as_bytes().to_vec()).into_query()).await.map(|_| ())
    }

    /// Notes when there is something to tell of a token that was just made, or whose own end was just brought forward by a rotation. What
    /// was told stays told; an end that is on record already is so from now on, since who rotates the token still cares for it.
    pub(super) async fn plan_notices(&self, token: &Token, read: Option<Noted>) -> Result<(), StoreError> {
        let told = read.map_or(Told::NOTHING, |read| read.told);
        let end_time = match read.and_then(|read| read.end_time) {
            Some(_) => Some(self.now().await?),
            None => None,
        };
        // What a policy says of its end is considered once it is looked at.
        let look_time = token.notice_plan(WorkspaceState::Active, token.own_expiry).next(told);
        self.renote(token, read, Noted { told, look_time, end_time }).await
    }

    /// Has a token looked at no later than there is something to tell of it under these circumstances.
    pub(super) async fn look_no_later(&self, token: &Token, circumstances: &Circumstances) -> Result<(), StoreError> {
        let read = self.noted(token.name.id).await?;
        let noted = read.unwrap_or_default();
        let next = token.notice_plan(circumstances.state, token.expiry(circumstances)).next(noted.told);
        let Some(next) = next.filter(|next| noted.look_time.is_none_or(|look| *next < look)) else { return Ok(()) };
        self.renote(token, read, Noted { look_time: Some(next), ..noted }).await
    }

    /// Notes what is new under the workspace's lock, under which nobody else does.
    async fn renote(&self, token: &Token, read: Option<Noted>, noted: Noted) -> Result<(), StoreError> {
        if read.unwrap_or_default() == noted || self.note(token.name.id, read, noted).await? {
            return Ok(());
        }
        Err(StoreError::corrupt(TABLE, token.name.id.to_string(), "it changed under its workspace's lock".to_owned()))
    }
}

fn read(model: Model) -> Result<Noted, String> {
    let Model { token: _, told, look_time, end_time } = model;
    Ok(Noted {
        told: Told::from_bits(told).ok_or("column told says something that is unknown here")?,
        look_time: row::optional_time("look_time", look_time)?,
        end_time: row::optional_time("end_time", end_time)?,
    })
}

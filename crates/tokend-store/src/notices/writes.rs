//! Writes the state of notices of the expiry of tokens. It has a table of its own, because a token's row is only
//! updated to end the token.

use std::time::Duration;

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait,
    sea_query::Expr,
};
use tokend_core::{
    credential::CredentialId,
    time::Timestamp,
    token::expiry_notice::SentNotices,
    token::{Token, TokenContext},
    workspace::WorkspaceState,
};

use crate::{
    error::StoreError,
    notices::tables::token_notices::{ActiveModel, Column, Entity, Model},
    row,
    transaction::{Insert, WriteTx},
};

const TABLE: &str = "token_notices";

/// The state of the notices of a token's expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeState {
    /// The notices that were recorded.
    pub told: SentNotices,
    /// When a notice may be due. `None` if there will be no more notices.
    pub look_time: Option<Timestamp>,
    /// When the expiry was recorded.
    pub end_time: Option<Timestamp>,
}

impl WriteTx {
    /// Returns the state of a token's notices. `None` if it has none. Lock its workspace first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn notice_state(&self, token: CredentialId) -> Result<Option<NoticeState>, StoreError> {
        let query = Entity::find_by_id(token.as_bytes().to_vec());
        let Some(found) = self.find(&query.into_query()).await? else {
            return Ok(None);
        };
        let read = read(Model::from_query_result(&found, "")?);
        read.map(Some)
            .map_err(|problem| StoreError::corrupt(TABLE, token.to_string(), problem))
    }

    /// Replaces the state that was `read` with `noted`. Returns false and changes nothing if the stored state has
    /// changed since it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_notice_state(
        &self,
        token: CredentialId,
        read: Option<NoticeState>,
        noted: NoticeState,
    ) -> Result<bool, StoreError> {
        let NoticeState {
            told,
            look_time,
            end_time,
        } = noted;
        let row = ActiveModel {
            token: NotSet,
            told: Set(told.bits()),
            look_time: Set(look_time.map(Timestamp::unix_micros)),
            end_time: Set(end_time.map(Timestamp::unix_micros)),
        };
        let Some(read) = read else {
            let row = ActiveModel {
                token: Set(token.as_bytes().to_vec()),
                ..row
            };
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

    /// Postpones the notices of a token that can't be verified at the moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn postpone_notices(&self, token: CredentialId, later: Duration) -> Result<(), StoreError> {
        let then = self.now().await?.plus(later).unwrap_or(Timestamp::MAX);
        let update = Entity::update_many()
            .col_expr(Column::LookTime, Expr::value(then.unix_micros()))
            .filter(Column::Token.eq(token.as_bytes().to_vec()))
            .filter(Column::LookTime.is_not_null());
        self.change(&update.into_query()).await.map(|_| ())
    }

    /// Deletes the state of the notices of a token that is deleted.
    pub(crate) async fn forget_notices(&self, token: CredentialId) -> Result<(), StoreError> {
        self.change(&Entity::delete_by_id(token.as_bytes().to_vec()).into_query())
            .await
            .map(|_| ())
    }

    /// Plans the notices of a token that was just created, or that a rotation made end earlier. Notices that were
    /// recorded stay recorded. If the expiry was recorded, the time of that becomes now, because whoever rotates the
    /// token still uses it.
    pub(crate) async fn plan_notices(&self, token: &Token, read: Option<NoticeState>) -> Result<(), StoreError> {
        let told = read.map_or(SentNotices::NONE, |read| read.told);
        let end_time = match read.and_then(|read| read.end_time) {
            Some(_) => Some(self.now().await?),
            None => None,
        };
        // The policy is taken into account when the notice is due.
        let look_time = token.notice_plan(WorkspaceState::Active, token.own_expiry).next(told);
        self.update_notice_state(
            token,
            read,
            NoticeState {
                told,
                look_time,
                end_time,
            },
        )
        .await
    }

    /// Moves the time at which a token's notices are due forward, if the token ends earlier in this context.
    pub(crate) async fn plan_no_later(&self, token: &Token, token_context: &TokenContext) -> Result<(), StoreError> {
        let read = self.notice_state(token.name.id).await?;
        let noted = read.unwrap_or_default();
        let next = token
            .notice_plan(token_context.state, token.expiry(token_context))
            .next(noted.told);
        let Some(next) = next.filter(|next| noted.look_time.is_none_or(|look| *next < look)) else {
            return Ok(());
        };
        self.update_notice_state(
            token,
            read,
            NoticeState {
                look_time: Some(next),
                ..noted
            },
        )
        .await
    }

    /// Stores a new state. The workspace is locked, so nobody else changes the state.
    async fn update_notice_state(
        &self,
        token: &Token,
        read: Option<NoticeState>,
        noted: NoticeState,
    ) -> Result<(), StoreError> {
        if read.unwrap_or_default() == noted || self.set_notice_state(token.name.id, read, noted).await? {
            return Ok(());
        }
        Err(StoreError::corrupt(
            TABLE,
            token.name.id.to_string(),
            "it changed under its workspace's lock".to_owned(),
        ))
    }
}

fn read(model: Model) -> Result<NoticeState, String> {
    let Model {
        token: _,
        told,
        look_time,
        end_time,
    } = model;
    Ok(NoticeState {
        told: SentNotices::from_bits(told).ok_or("column told says something that is unknown here")?,
        look_time: row::optional_time("look_time", look_time)?,
        end_time: row::optional_time("end_time", end_time)?,
    })
}

//! What the webhook's receiver does not have yet.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub event: String,
    pub subject: String,
    /// The body, sent as it stands here.
    pub payload: String,
    pub create_time: i64,
    /// Tries that were begun.
    pub attempts: i64,
    /// When the next try may begin.
    pub due_time: i64,
    pub mac: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

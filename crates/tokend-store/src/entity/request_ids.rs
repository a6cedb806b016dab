//! Requests that were carried out, so that a repeated one is answered and not done again.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "request_ids")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub rpc: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub parent: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: String,
    /// Of the body.
    pub digest: Vec<u8>,
    /// What was made.
    pub token: Vec<u8>,
    pub create_time: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

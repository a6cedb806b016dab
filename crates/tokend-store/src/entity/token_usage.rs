//! What use is made of tokens. Not sealed: no verdict rests on it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "token_usage")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: Vec<u8>,
    pub last_used_time: i64,
    /// `address@microseconds` with a space between, the latest first.
    pub addresses: String,
    /// Names with a space between.
    pub asked_scopes: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

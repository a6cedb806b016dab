//! One row: where the order of changes stands, and the terms on which replicas may answer from memory.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "feed")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub one: i16,
    /// Random, of 63 bits.
    pub epoch: i64,
    pub revision: i64,
    pub grant_micros: i64,
    pub wait_micros: i64,
    /// SQLite: time never falls below this. Stays 0 on PostgreSQL.
    pub time_floor: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! One row: where the order of changes stands, and the terms on which replicas may answer from memory. Sealed but for `time_floor`, which
//! every write raises.

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
    /// The position of the last row in `endings`; 0 if there is none.
    pub last_ending: i64,
    /// 0, or 1 from the beginning of a restore to its end.
    pub restoring: i16,
    /// Null in a database that an older tokend made, until it is sealed once.
    pub mac: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

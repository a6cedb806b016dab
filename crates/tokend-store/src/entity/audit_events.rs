//! The records of the audit log.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub chain: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    pub time: i64,
    #[sea_orm(column_name = "type")]
    pub kind: String,
    pub caller: String,
    pub actor: String,
    pub address: String,
    pub resource: String,
    pub outcome: String,
    pub reason: String,
    pub detail: String,
    /// Empty, one zero byte for a row that is gone, or a digest.
    pub row_digest: Vec<u8>,
    pub kid: String,
    pub previous_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

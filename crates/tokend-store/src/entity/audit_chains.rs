//! Where each chain of the audit log begins and ends.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_chains")]
pub struct Model {
    /// `-`, or a workspace's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub chain: String,
    pub sequence: i64,
    pub hash: Vec<u8>,
    pub base_sequence: i64,
    pub base_hash: Vec<u8>,
    pub begin_time: i64,
    pub chains: i64,
    /// 0 or 1.
    pub is_feed_sealed: i16,
    pub kid: String,
    pub mac: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

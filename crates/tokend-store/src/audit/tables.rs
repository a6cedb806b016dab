//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// The records of the audit log.
pub(crate) mod audit_events {
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
}

/// Where each chain of the audit log begins and ends.
pub(crate) mod audit_chains {
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
}

/// Checkpoints: the state of a chain of the audit log at some time.
pub(crate) mod audit_checkpoints {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_checkpoints")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub chain: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub sequence: i64,
        pub time: i64,
        pub hash: Vec<u8>,
        pub kid: String,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// One row: the current revision, and how long replicas may answer from memory. All columns are sealed except
/// `time_floor`, which every write raises.
pub(crate) mod feed {
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
        #[sea_orm(column_name = "last_ending")]
        pub last_revocation: i64,
        /// 1 while a restore is in progress, otherwise 0.
        pub restoring: i16,
        /// How often the lease was changed.
        pub terms: i64,
        /// Null in a database of an older tokend, until it is sealed.
        pub mac: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One row for each revision: what its change was about. Old rows are purged.
pub(crate) mod feed_log {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "feed_log")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub revision: i64,
        pub epoch: i64,
        /// Names, one per line.
        pub body: String,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Usage of tokens. Not sealed, because no verdict depends on it.
pub(crate) mod token_usage {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "token_usage")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub token: Vec<u8>,
        pub last_used_time: i64,
        /// `address@microseconds` entries with a space between, the latest first.
        pub addresses: String,
        /// Names with a space between.
        pub asked_scopes: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// When caller keys were used last. Not sealed, because no permission depends on it.
pub(crate) mod caller_key_usage {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "caller_key_usage")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: Vec<u8>,
        pub last_used_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

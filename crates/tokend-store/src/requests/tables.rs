//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Completed requests, so that a repeated request returns the first result.
pub(crate) mod request_ids {
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
        /// The digest of the request body.
        pub digest: Vec<u8>,
        /// The token that the request created.
        pub token: Vec<u8>,
        pub create_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

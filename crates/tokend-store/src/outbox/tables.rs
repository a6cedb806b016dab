//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Messages that the webhook's receiver has not confirmed yet.
pub(crate) mod webhook_outbox {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_outbox")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub event: String,
        pub subject: String,
        /// The body as it is sent.
        pub payload: String,
        pub create_time: i64,
        /// The number of attempts that were started.
        pub attempts: i64,
        /// When the next attempt may start.
        pub due_time: i64,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

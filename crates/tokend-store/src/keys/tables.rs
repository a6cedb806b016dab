//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Every key that this installation ever had, and its state, so that a wrong key ring is detected before it is used.
pub(crate) mod keyring_keys {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "keyring_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub kid: String,
        pub fingerprint: Vec<u8>,
        pub create_time: i64,
        /// VERIFIES, ACTIVE or RETIRED.
        pub state: String,
        pub activate_time: Option<i64>,
        pub retire_time: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Revocation records, one line each, in the order of commits.
pub(crate) mod endings {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "endings")]
    pub struct Model {
        /// Counts from 1, without a gap.
        #[sea_orm(primary_key, auto_increment = false)]
        pub position: i64,
        pub epoch: i64,
        /// The line as it is exported, with its MAC.
        pub line: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

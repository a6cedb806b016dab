//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Workspaces.
pub(crate) mod workspaces {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "workspaces")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub display_name: String,
        pub organization: Option<String>,
        /// ACTIVE, SUSPENDED or DELETED.
        pub state: String,
        /// Since when it is suspended or deleted.
        pub state_time: Option<i64>,
        pub create_time: i64,
        /// JSON; empty if none was ever set.
        pub policy: String,
        pub policy_update_time: Option<i64>,
        /// Pairs of times with a space between.
        pub policy_deadlines: String,
        /// How many tokens it has, ended ones included. Kept by every insertion; not sealed.
        pub token_count: i64,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::organizations::Entity",
            from = "Column::Organization",
            to = "super::organizations::Column::Id"
        )]
        Organization,
    }

    impl Related<super::organizations::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Organization.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What workspaces may belong to.
pub(crate) mod organizations {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "organizations")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub display_name: String,
        pub create_time: i64,
        /// JSON; empty if none was ever set.
        pub policy: String,
        pub policy_update_time: Option<i64>,
        /// Pairs of times with a space between.
        pub policy_deadlines: String,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

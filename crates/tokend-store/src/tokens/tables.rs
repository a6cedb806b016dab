//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// Workspace access tokens.
pub(crate) mod tokens {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Vec<u8>,
        pub workspace: String,
        pub kid: String,
        pub digest: Vec<u8>,
        pub resource: String,
        pub display_name: String,
        pub description: String,
        pub catalog_version: i64,
        /// Names with a space between.
        pub scopes: String,
        /// Names with a space between.
        pub effective_scopes: String,
        /// `*` for every address, or networks with a space between.
        pub allowed_cidrs: String,
        /// A JSON object.
        pub labels: String,
        pub create_time: i64,
        pub creator: String,
        pub expire_time: Option<i64>,
        pub requested_expire_time: Option<i64>,
        pub revoke_time: Option<i64>,
        pub revoker: Option<String>,
        pub revoke_reason: Option<String>,
        pub rotated_from: Option<Vec<u8>>,
        pub rotated_to: Option<Vec<u8>>,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "crate::workspaces::tables::workspaces::Entity",
            from = "Column::Workspace",
            to = "crate::workspaces::tables::workspaces::Column::Id"
        )]
        Workspace,
    }

    impl Related<crate::workspaces::tables::workspaces::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Workspace.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

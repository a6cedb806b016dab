//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// The backends that may call.
pub(crate) mod callers {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "callers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub role: String,
        /// `*` for every workspace, or ids with a space between.
        pub workspaces: String,
        /// A JSON array of texts.
        pub certificate_sans: String,
        pub create_time: i64,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The keys by which callers authenticate.
pub(crate) mod caller_keys {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "caller_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Vec<u8>,
        pub caller: String,
        pub kid: String,
        pub digest: Vec<u8>,
        pub create_time: i64,
        pub expire_time: i64,
        pub revoke_time: Option<i64>,
        pub mac: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::callers::Entity",
            from = "Column::Caller",
            to = "super::callers::Column::Id"
        )]
        Caller,
    }

    impl Related<super::callers::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Caller.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which caller a name in a client certificate stands for. Finds the caller; whether it is so, its sealed row says.
pub(crate) mod caller_certificate_sans {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "caller_certificate_sans")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub san: String,
        pub caller: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

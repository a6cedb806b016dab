//! The tables as sea-orm sees them.

#![expect(
    unreachable_pub,
    reason = "sea-orm's derive macros make public items; this module is private"
)]

/// The state of notices of tokens' expiry. Not sealed, because no verdict depends on it.
pub(crate) mod token_notices {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "token_notices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub token: Vec<u8>,
        /// A bit for each notice.
        pub told: i16,
        /// When a notice may be due. Null if there will be no more notices.
        pub look_time: Option<i64>,
        /// When the expiry was recorded.
        pub end_time: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "crate::tokens::tables::tokens::Entity",
            from = "Column::Token",
            to = "crate::tokens::tables::tokens::Column::Id"
        )]
        Token,
    }

    impl Related<crate::tokens::tables::tokens::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Token.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The state of notices of caller keys' expiry. Not sealed, because no permission depends on it.
pub(crate) mod caller_key_notices {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "caller_key_notices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: Vec<u8>,
        /// A bit for each notice.
        pub told: i16,
        /// When the next notice is due. Null if there will be no more notices.
        pub look_time: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "crate::callers::tables::caller_keys::Entity",
            from = "Column::Key",
            to = "crate::callers::tables::caller_keys::Column::Id"
        )]
        Key,
    }

    impl Related<crate::callers::tables::caller_keys::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Key.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Workspaces whose notices have to be planned again because a policy has changed.
pub(crate) mod notice_plans {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "notice_plans")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub workspace: String,
        /// With `token`: the last token whose notices are planned. Null at the beginning.
        pub create_time: Option<i64>,
        pub token: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

//! The keys by which callers authenticate.

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
    #[sea_orm(belongs_to = "super::callers::Entity", from = "Column::Caller", to = "super::callers::Column::Id")]
    Caller,
}

impl Related<super::callers::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Caller.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}

//! Which notices of caller keys' expiry were given. Not sealed: no permission rests on it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "caller_key_notices")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Vec<u8>,
    /// A bit for each notice.
    pub told: i16,
    /// When the next notice is due; null: no more notices.
    pub look_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::caller_keys::Entity", from = "Column::Key", to = "super::caller_keys::Column::Id")]
    Key,
}

impl Related<super::caller_keys::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Key.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}

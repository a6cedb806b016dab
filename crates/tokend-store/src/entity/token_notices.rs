//! What was told of tokens' ends. Not sealed: no verdict reads it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "token_notices")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: Vec<u8>,
    /// A bit for each notice.
    pub told: i16,
    /// From when on there may be something to tell; null: nothing ever.
    pub look_time: Option<i64>,
    /// When the end by expiry was put on record.
    pub end_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::tokens::Entity", from = "Column::Token", to = "super::tokens::Column::Id")]
    Token,
}

impl Related<super::tokens::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Token.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}

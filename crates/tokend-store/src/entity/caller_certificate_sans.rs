//! Which caller a name in a client certificate stands for. Finds the caller; whether it is so, its sealed row says.

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

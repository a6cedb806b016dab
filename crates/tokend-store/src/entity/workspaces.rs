//! Workspaces.

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
    /// How many tokens it has, ended ones included. Kept by every insertion; not sealed.
    pub token_count: i64,
    pub mac: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

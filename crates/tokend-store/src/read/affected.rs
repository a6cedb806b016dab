//! Tokens whose end comes earlier under another policy.
//!
//! Found without a lock, as it was at the moment of the edit: what is older than it is there, and what was revoked since says when. No
//! statement looks at more than a bounded number of tokens: small workspaces share one, a large one is gone through in slices.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait, Select,
};
use tokend_core::{
    name::{TokenName, WorkspaceId},
    policy::{Deadlines, PolicyName, Shortened},
    time::Timestamp,
    token::Token,
    workspace::WorkspaceState,
};

use super::{
    LEFT,
    governed::{GOVERNED, Governed},
    token_walk::{KEY, first},
};
use crate::{
    entity::{
        organizations,
        tokens::{Column, Entity},
        workspaces,
    },
    error::StoreError,
    row::{self, judged},
    store::{Shared, Store},
};

/// Workspaces that are read at once.
const WORKSPACES_AT_ONCE: u64 = 100;
/// Tokens that a statement looks at, at most.
const AT_ONCE: u64 = 20_000;

/// What an edit makes of the deadlines that one policy has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Whose.
    pub of: PolicyName,
    /// Those that there were.
    pub before: Deadlines,
    /// Those that take their place.
    pub after: Deadlines,
    /// The moment.
    pub at: Timestamp,
}

/// Tokens whose end comes earlier by an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// How many.
    pub count: u64,
    /// Some of them, each with its end.
    pub some: Vec<(TokenName, Timestamp)>,
}

/// Workspaces of whose tokens the same ones are affected.
struct Batch {
    workspaces: Vec<WorkspaceId>,
    /// Of all of them; a kept counter.
    token_count: u64,
    which: Which,
}

/// Which tokens of a workspace are affected: alike where it has no deadlines of its own.
#[derive(Clone, PartialEq)]
struct Which {
    shortened: Vec<Shortened>,
    /// Those made up to then had ended.
    made_until_ended: Option<Timestamp>,
}

impl Store {
    /// The tokens, neither revoked nor expired at the moment of the edit, whose end comes earlier by it: how many, and up to `limit` of
    /// them. Those of a suspended workspace count, those of a deleted one have ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn affected_tokens(&self, edit: Edit, limit: u64) -> Result<Affected, StoreError> {
        self.read(move |shared| async move { affected_tokens(&shared, &edit, limit).await }).await
    }
}

async fn affected_tokens(shared: &Shared, edit: &Edit, limit: u64) -> Result<Affected, StoreError> {
    let mut affected = Affected::default();
    if edit.after.shortening(&edit.before).is_empty() {
        return Ok(affected);
    }
    let bound = match &edit.of {
        PolicyName::Organization(id) => workspaces::Column::Organization.eq(id.as_str()),
        PolicyName::Workspace(id) => workspaces::Column::Id.eq(id.as_str()),
    };
    let mut after = String::new();
    loop {
        let page = workspaces::Entity::find()
            .find_also_related(organizations::Entity)
            .filter(bound.clone())
            .filter(workspaces::Column::Id.gt(after))
            .order_by_asc(workspaces::Column::Id)
            .limit(WORKSPACES_AT_ONCE);
        let rows = shared.connection.query_all(&page.into_query()).await?;
        let Some(last) = rows.last() else { return Ok(affected) };
        after = last.try_get(LEFT, "id")?;
        for batch in batches(shared, edit, &rows)? {
            batch.add_to(&mut affected, shared, edit.at, limit).await?;
        }
    }
}

fn batches(shared: &Shared, edit: &Edit, rows: &[QueryResult]) -> Result<Vec<Batch>, StoreError> {
    let mut batches = Vec::<Batch>::new();
    for columns in rows {
        // What is not to be believed is refused in any case, and was logged.
        let Ok(governed) = judged(Governed::read(&shared.judge(), columns, GOVERNED))? else { continue };
        let which = Which::of(edit, &governed);
        if which.shortened.is_empty() || matches!(governed.state, WorkspaceState::Deleted { at } if at <= edit.at) {
            continue;
        }
        let token_count = u64::try_from(columns.try_get::<i64>(LEFT, "token_count")?).unwrap_or(0);
        let fits = |batch: &&mut Batch| batch.which == which && batch.token_count + token_count <= AT_ONCE;
        match batches.iter_mut().find(fits) {
            Some(batch) => {
                batch.workspaces.push(governed.id.clone());
                batch.token_count += token_count;
            }
            None => batches.push(Batch { workspaces: vec![governed.id.clone()], token_count, which }),
        }
    }
    Ok(batches)
}

impl Which {
    fn of(edit: &Edit, governed: &Governed) -> Self {
        let nothing = Deadlines::default();
        let other = match edit.of {
            PolicyName::Organization(_) => &governed.policy.deadlines,
            PolicyName::Workspace(_) => governed.organization().map_or(&nothing, |organization| &organization.policy.deadlines),
        };
        let before = other.and(&edit.before);
        Self { shortened: other.and(&edit.after).shortening(&before), made_until_ended: before.made_until_ended(edit.at) }
    }

    /// That a token is one of them.
    fn condition(&self, at: Timestamp) -> Condition {
        let micros = Timestamp::unix_micros;
        let lives_past = |end| Condition::any().add(Column::ExpireTime.is_null()).add(Column::ExpireTime.gt(micros(end)));
        let shortened = self.shortened.iter().map(|part| {
            Condition::all()
                .add_option(part.made_after.map(|after| Column::CreateTime.gt(micros(after))))
                .add(Column::CreateTime.lte(micros(part.made_until)))
                .add(lives_past(part.end))
        });
        Condition::all()
            .add(Condition::any().add(Column::RevokeTime.is_null()).add(Column::RevokeTime.gt(micros(at))))
            .add(lives_past(at))
            .add_option(self.made_until_ended.map(|until| Column::CreateTime.gt(micros(until))))
            .add(shortened.fold(Condition::any(), Condition::add))
    }

    fn end_of(&self, token: &Token) -> Option<Timestamp> {
        let of_it = |part: &&Shortened| {
            part.made_after.is_none_or(|after| after < token.create_time) && token.create_time <= part.made_until
        };
        self.shortened.iter().find(of_it).map(|part| part.end)
    }
}

impl Batch {
    async fn add_to(&self, affected: &mut Affected, shared: &Shared, at: Timestamp, limit: u64) -> Result<(), StoreError> {
        let all = Entity::find().filter(Column::Workspace.is_in(self.workspaces.iter().map(WorkspaceId::as_str)));
        let condition = self.which.condition(at);
        if self.token_count <= AT_ONCE {
            return self.add_rows(affected, shared, all.filter(condition), limit).await;
        }
        // One workspace: the index of its list has them in order.
        let mut rest = all.clone();
        loop {
            let (slice, end) = first(shared, rest, AT_ONCE).await?;
            self.add_rows(affected, shared, slice.filter(condition.clone()), limit).await?;
            let Some(end) = end else { return Ok(()) };
            rest = all.clone().filter(end.comes_before(KEY));
        }
    }

    async fn add_rows(&self, affected: &mut Affected, shared: &Shared, rows: Select<Entity>, limit: u64) -> Result<(), StoreError> {
        affected.count += row::count(shared.connection.query_one(&row::counting(rows.clone())).await?)?;
        let room = limit.saturating_sub(affected.some.len() as u64);
        if room == 0 {
            return Ok(());
        }
        let rows = rows.order_by_asc(Column::Workspace).order_by_desc(Column::CreateTime).order_by_desc(Column::Id).limit(room);
        let rows = shared.connection.query_all(&rows.into_query()).await?;
        for token in shared.judge().each::<Token>(&rows)?.into_iter().flatten() {
            affected.some.extend(self.which.end_of(&token).map(|end| (token.name, end)));
        }
        Ok(())
    }
}

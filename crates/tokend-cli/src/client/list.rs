//! List commands: all pages of a list, or one.
//!
//! A new list command needs its RPC in a `ListArgs::run` call, its response among the `pages!` below, and its columns
//! in an [`Answer`].

use clap::Args;
use tokend_client::{Client, v1};
use tonic::{Response, Status};

use super::{
    connection::Connection,
    output::{Answer, Output},
};
use crate::{command_error::CommandError, terminal::note};

/// The page size used to fetch a whole list: the largest one that the service allows.
const LARGEST_PAGE: i32 = 1_000;

/// Arguments of a list command. `S` selects what to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs<S: Args = Everything> {
    #[command(flatten)]
    selection: S,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// The selection of list commands that list everything.
#[derive(Debug, Args)]
pub(crate) struct Everything {}

/// The part of a list to print: all of it, unless a page is requested.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// Print one page with at most this many entries instead of the whole list
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    page_size: Option<i32>,
    /// Print one page that starts at this token: the next_page_token of the previous page
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
}

/// A response with one page of a list.
pub(super) trait Page {
    /// Returns the token of the next page. It is empty on the last page.
    fn next_page_token(&self) -> &str;

    /// Appends the next page.
    fn append(&mut self, next: Self);
}

impl<S: Args> ListArgs<S> {
    /// Fetches and prints the list. `call` gets the client, the selection, the page size and the page token.
    ///
    /// # Errors
    /// The client can't connect, a call fails, or stdout can't be written to.
    pub(super) async fn run<P: Page + Answer>(
        self,
        call: impl AsyncFnMut(&Client, &S, i32, String) -> Result<Response<P>, Status>,
    ) -> Result<(), CommandError> {
        self.run_and_edit(call, |_, _| {}).await
    }

    /// Fetches the list, edits it and prints it.
    ///
    /// # Errors
    /// The client can't connect, a call fails, or stdout can't be written to.
    pub(super) async fn run_and_edit<P: Page + Answer>(
        self,
        mut call: impl AsyncFnMut(&Client, &S, i32, String) -> Result<Response<P>, Status>,
        edit: impl FnOnce(&S, &mut P),
    ) -> Result<(), CommandError> {
        let Self {
            selection,
            paging,
            output,
            connection,
        } = self;
        let client = connection.open().await?;
        let mut list = paging
            .fetch(async |page_size, page_token| call(&client, &selection, page_size, page_token).await)
            .await?;
        edit(&selection, &mut list);
        output.print(&list)?;
        // In JSON, next_page_token is part of the response.
        if output.is_table() && !list.next_page_token().is_empty() {
            note(&format!("There is more: --page-token {}", list.next_page_token()));
        }
        Ok(())
    }
}

impl Paging {
    /// The whole list.
    pub(super) const ALL: Self = Self {
        page_size: None,
        page_token: None,
    };

    /// Fetches the requested page, or all pages. `call` gets the page size and the page token.
    ///
    /// # Errors
    /// The first call that fails.
    pub(super) async fn fetch<P: Page>(
        &self,
        mut call: impl AsyncFnMut(i32, String) -> Result<Response<P>, Status>,
    ) -> Result<P, CommandError> {
        if self.page_size.is_some() || self.page_token.is_some() {
            let token = self.page_token.clone().unwrap_or_default();
            return Ok(call(self.page_size.unwrap_or_default(), token).await?.into_inner());
        }
        let mut all = call(LARGEST_PAGE, String::new()).await?.into_inner();
        while !all.next_page_token().is_empty() {
            let next = call(LARGEST_PAGE, all.next_page_token().to_owned()).await?.into_inner();
            all.append(next);
        }
        Ok(all)
    }
}

/// Implements [`Page`] for list responses, each with the field that holds its entries.
macro_rules! pages {
    ($($page:ident { $entries:ident }),+ $(,)?) => {
        $(impl Page for v1::$page {
            fn next_page_token(&self) -> &str {
                &self.next_page_token
            }

            fn append(&mut self, mut next: Self) {
                self.$entries.append(&mut next.$entries);
                self.next_page_token = next.next_page_token;
            }
        })+
    };
}

pages! {
    ListTokensResponse { tokens },
    ListWorkspacesResponse { workspaces },
    ListOrganizationsResponse { organizations },
    ListCallersResponse { callers },
    ListCallerKeysResponse { keys },
    ListAuditEventsResponse { events },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];

    /// A service that returns at most two entries a page. The page token is the index of the next entry.
    async fn list(size: i32, token: String) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let size = if size == 0 {
            2
        } else {
            usize::try_from(size).expect("not negative").min(2)
        };
        let start: usize = if token.is_empty() {
            0
        } else {
            token.parse().expect("an index")
        };
        let end = (start + size).min(ALL.len());
        let workspaces = ALL[start..end]
            .iter()
            .map(|name| v1::Workspace {
                name: (*name).to_owned(),
                ..Default::default()
            })
            .collect();
        let next_page_token = if end < ALL.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(v1::ListWorkspacesResponse {
            workspaces,
            next_page_token,
        }))
    }

    async fn names(paging: Paging) -> (Vec<String>, String) {
        let list = paging.fetch(list).await.expect("listed");
        (
            list.workspaces.into_iter().map(|workspace| workspace.name).collect(),
            list.next_page_token,
        )
    }

    #[tokio::test]
    async fn all_pages_or_the_requested_one() {
        assert_eq!(names(Paging::ALL).await, (ALL.map(str::to_owned).into(), String::new()));
        let first = names(Paging {
            page_size: Some(1),
            page_token: None,
        })
        .await;
        assert_eq!(first, (vec!["a".to_owned()], "1".to_owned()));
        let last = names(Paging {
            page_size: None,
            page_token: Some("4".to_owned()),
        })
        .await;
        assert_eq!(last, (vec!["e".to_owned()], String::new()));
    }
}

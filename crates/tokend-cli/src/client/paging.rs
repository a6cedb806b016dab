use tokend_client::{Client, v1};
use tonic::{Response, Status};

use super::{
    connection::Connection,
    output::{Answer, Output},
};
use crate::failure::Failure;

/// Entries asked for at once when every page is wanted: as many as the service gives.
const LARGEST_PAGE: i32 = 1_000;

/// Which part of a list to show: all of it, unless a page is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Paging {
    /// Show one page with this many entries at most, instead of the whole list
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    page_size: Option<i32>,
    /// Show the one page that starts here: the next_page_token of the page before
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
}

/// What a command takes that lists all there is of something.
#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// A page of a list.
pub(super) trait Page {
    /// Where the next one starts; empty after the last.
    fn next_page_token(&self) -> &str;

    /// Adds the page that follows.
    fn append(&mut self, next: Self);
}

impl Listing {
    /// Shows what was asked for. `call` takes the client, and a page's size and token.
    ///
    /// # Errors
    /// The first call that fails, and those of connecting and showing.
    pub(super) async fn show<P: Page + Answer>(
        self,
        mut call: impl AsyncFnMut(&Client, i32, String) -> Result<Response<P>, Status>,
    ) -> Result<(), Failure> {
        let Self { paging, output, connection } = self;
        let client = connection.open().await?;
        let list = paging.gather(async |page_size, page_token| call(&client, page_size, page_token).await).await?;
        output.print_list(&list)
    }
}

impl Paging {
    /// The whole list.
    pub(super) const ALL: Self = Self { page_size: None, page_token: None };

    /// Calls for the page that was asked for, or for one after the other until all are together. `call` takes a page's size
    /// and token.
    ///
    /// # Errors
    /// The first call that fails.
    pub(super) async fn gather<P: Page>(
        &self,
        mut call: impl AsyncFnMut(i32, String) -> Result<Response<P>, Status>,
    ) -> Result<P, Failure> {
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

/// Pages of lists: the message, and the field with its entries.
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

    /// A service that gives two entries at most; a page token is where to go on.
    async fn list(size: i32, token: String) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let size = if size == 0 { 2 } else { usize::try_from(size).expect("not negative").min(2) };
        let start: usize = if token.is_empty() { 0 } else { token.parse().expect("a page token of ours") };
        let end = (start + size).min(ALL.len());
        let workspaces =
            ALL[start..end].iter().map(|name| v1::Workspace { name: (*name).to_owned(), ..Default::default() }).collect();
        let next_page_token = if end < ALL.len() { end.to_string() } else { String::new() };
        Ok(Response::new(v1::ListWorkspacesResponse { workspaces, next_page_token }))
    }

    async fn names(paging: Paging) -> (Vec<String>, String) {
        let list = paging.gather(list).await.expect("listed");
        (list.workspaces.into_iter().map(|workspace| workspace.name).collect(), list.next_page_token)
    }

    #[tokio::test]
    async fn every_page_in_order_or_the_one_that_was_asked_for() {
        assert_eq!(names(Paging::ALL).await, (ALL.map(str::to_owned).into(), String::new()));
        let first = names(Paging { page_size: Some(1), page_token: None }).await;
        assert_eq!(first, (vec!["a".to_owned()], "1".to_owned()));
        let last = names(Paging { page_size: None, page_token: Some("4".to_owned()) }).await;
        assert_eq!(last, (vec!["e".to_owned()], String::new()));
    }
}

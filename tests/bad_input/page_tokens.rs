//! Page tokens: valid, changed, and from other lists.

use tokend_client::v1::{
    ListAuditEventsRequest, ListAuditEventsResponse, ListCallerKeysRequest, ListCallerKeysResponse, ListCallersRequest,
    ListCallersResponse, ListOrganizationsRequest, ListOrganizationsResponse, ListTokensRequest, ListTokensResponse,
    ListWorkspacesRequest, ListWorkspacesResponse,
};
use tokend_tests::Server;

/// The list calls that have pages.
pub(crate) const PAGED: [&str; 6] = [
    "TokenAdmin/ListTokens",
    "WorkspaceAdmin/ListWorkspaces",
    "WorkspaceAdmin/ListOrganizations",
    "CallerAdmin/ListCallers",
    "CallerAdmin/ListCallerKeys",
    "AuditLog/ListAuditEvents",
];

/// Page tokens of one list.
#[derive(Debug)]
pub(crate) struct Pages {
    /// `Service/Method`.
    pub(crate) rpc: &'static str,
    /// The token for the second page.
    pub(crate) mine: String,
    /// The token for the second page, issued to another caller.
    pub(crate) of_another_caller: String,
    /// The token for the second page of the same list with another parent, for lists with a parent.
    pub(crate) of_another_parent: Option<String>,
}

/// Returns the tokens for the second page of every list, as the administrator and an auditor receive them.
pub(crate) async fn pages(server: &Server, auditor: &str) -> Vec<Pages> {
    let auditor = server.client(auditor).await;
    let mut received = Vec::new();
    for client in [server.admin(), &auditor] {
        let tokens = async |parent: &str| {
            let request = ListTokensRequest {
                parent: parent.to_owned(),
                page_size: 1,
                ..Default::default()
            };
            let ListTokensResponse { next_page_token, .. } = client
                .token_admin()
                .list_tokens(request)
                .await
                .expect("the list call succeeds")
                .into_inner();
            next_page_token
        };
        let keys = async |parent: &str| {
            let request = ListCallerKeysRequest {
                parent: parent.to_owned(),
                page_size: 1,
                ..Default::default()
            };
            let ListCallerKeysResponse { next_page_token, .. } = client
                .caller_admin()
                .list_caller_keys(request)
                .await
                .expect("the list call succeeds")
                .into_inner();
            next_page_token
        };
        let events = async |parent: &str| {
            let request = ListAuditEventsRequest {
                parent: parent.to_owned(),
                page_size: 1,
                ..Default::default()
            };
            let ListAuditEventsResponse { next_page_token, .. } = client
                .audit_log()
                .list_audit_events(request)
                .await
                .expect("the list call succeeds")
                .into_inner();
            next_page_token
        };
        let request = ListWorkspacesRequest {
            page_size: 1,
            ..Default::default()
        };
        let ListWorkspacesResponse {
            next_page_token: workspaces,
            ..
        } = client
            .workspace_admin()
            .list_workspaces(request)
            .await
            .expect("the list call succeeds")
            .into_inner();
        let request = ListOrganizationsRequest {
            page_size: 1,
            ..Default::default()
        };
        let ListOrganizationsResponse {
            next_page_token: organizations,
            ..
        } = client
            .workspace_admin()
            .list_organizations(request)
            .await
            .expect("the list call succeeds")
            .into_inner();
        let request = ListCallersRequest {
            page_size: 1,
            ..Default::default()
        };
        let ListCallersResponse {
            next_page_token: callers,
            ..
        } = client
            .caller_admin()
            .list_callers(request)
            .await
            .expect("the list call succeeds")
            .into_inner();
        received.push([
            (tokens("workspaces/acme").await, Some(tokens("workspaces/other").await)),
            (workspaces, None),
            (organizations, None),
            (callers, None),
            (keys("callers/gateway").await, Some(keys("callers/auditor").await)),
            (events("workspaces/acme").await, Some(events("workspaces/other").await)),
        ]);
    }
    let [theirs, mine] = [
        received.pop().expect("there are two entries"),
        received.pop().expect("there are two entries"),
    ];
    let pages = PAGED.into_iter().zip(mine).zip(theirs);
    pages
        .map(|((rpc, (mine, of_another_parent)), (of_another_caller, _))| {
            assert!(
                !mine.is_empty() && !of_another_caller.is_empty(),
                "{rpc} has a second page"
            );
            Pages {
                rpc,
                mine,
                of_another_caller,
                of_another_parent,
            }
        })
        .collect()
}

//! `TokenAdmin.ListTokens` returns a workspace's tokens, newest first, including expired and revoked ones.

use tokend_client::v1::{CreateTokenRequest, ErrorReason, ListTokensRequest, ListTokensResponse, token::State};
use tokend_tests::{Installation, Refused, Server, on_both_databases, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    pages_are_complete_and_newest_first,
    tokens_created_between_pages_hide_nothing,
    a_full_page_of_the_largest_tokens_can_be_sent,
    a_missing_workspace_is_not_found,
    an_invalid_field_is_named,
);

async fn list(server: &Server, request: ListTokensRequest) -> Result<Response<ListTokensResponse>, Status> {
    server.admin().token_admin().list_tokens(request).await
}

/// Lists every token's name in pages of `page_size`, and calls `between` after each page.
async fn all_names(server: &Server, parent: &str, page_size: i32, mut between: impl AsyncFnMut()) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTokensRequest {
            parent: parent.to_owned(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = list(server, request).await.expect("ListTokens succeeds").into_inner();
        assert!(page_size == 0 || page.tokens.len() <= page_size as usize);
        names.extend(page.tokens.into_iter().map(|token| token.name));
        if page.next_page_token.is_empty() {
            return names;
        }
        page_token = page.next_page_token;
        between().await;
    }
}

async fn pages_are_complete_and_newest_first(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    server.token(token_in(&other)).await;
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(server.token(token_in(&acme)).await.public.name);
    }
    names.reverse();
    server.revoke(&names[2]).await;
    for page_size in [0, 1, 2, 5, 1_000, 1_001] {
        assert_eq!(
            all_names(&server, &acme, page_size, async || ()).await,
            names,
            "in pages of {page_size}"
        );
    }
    let page = list(
        &server,
        ListTokensRequest {
            parent: acme,
            ..Default::default()
        },
    )
    .await
    .expect("ListTokens succeeds")
    .into_inner();
    assert_eq!(page.total_size, 5);
    let states: Vec<_> = page.tokens.iter().map(tokend_client::v1::Token::state).collect();
    assert_eq!(
        states,
        [
            State::Active,
            State::Active,
            State::Revoked,
            State::Active,
            State::Active
        ]
    );
}

async fn tokens_created_between_pages_hide_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(server.token(token_in(&acme)).await.public.name);
    }
    names.reverse();
    let create_one = async || {
        server.token(token_in(&acme)).await;
    };
    assert_eq!(
        all_names(&server, &acme, 1, create_one).await,
        names,
        "no token is skipped or returned twice"
    );
}

async fn a_full_page_of_the_largest_tokens_can_be_sent(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let large = CreateTokenRequest {
        display_name: "🚀".repeat(120),
        description: "🚀".repeat(1_000),
        labels: (10..26)
            .map(|n| (format!("k{}{n}", "-".repeat(60)), "🚀".repeat(128)))
            .collect(),
        ..token_in(&acme)
    };
    // Each token has about 14 KiB: a page of all of them would exceed the message limit.
    for _ in 0..90 {
        server.token(large.clone()).await;
    }
    assert_eq!(all_names(&server, &acme, 1_000, async || ()).await.len(), 90);
}

async fn a_missing_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let answer = list(
        &server,
        ListTokensRequest {
            parent: "workspaces/nobody".to_owned(),
            ..Default::default()
        },
    )
    .await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = || ListTokensRequest {
        parent: acme.clone(),
        ..Default::default()
    };
    list(
        &server,
        ListTokensRequest {
            parent: String::new(),
            ..request()
        },
    )
    .await
    .refused_field("parent");
    list(
        &server,
        ListTokensRequest {
            page_size: -1,
            ..request()
        },
    )
    .await
    .refused_field("page_size");
    list(
        &server,
        ListTokensRequest {
            page_token: "garbage".to_owned(),
            ..request()
        },
    )
    .await
    .refused_field("page_token");
    list(
        &server,
        ListTokensRequest {
            filter: "state".to_owned(),
            ..request()
        },
    )
    .await
    .refused_field("filter");
}

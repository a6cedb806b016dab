//! `TokenAdmin.ListTokens` with a `filter` returns pages. A page token belongs to its filter.

use tokend_client::v1::{CreateTokenRequest, ListTokensRequest};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};

use crate::list_tokens_filter::labels;

on_both_databases!(pages_continue_within_the_same_filter);

async fn pages_continue_within_the_same_filter(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut expected = Vec::new();
    for number in 0..7 {
        let team = if number % 3 == 0 { "other" } else { "web" };
        let request = CreateTokenRequest {
            labels: labels(&[("team", team)]),
            ..token_in(&acme)
        };
        let name = server.token(request).await.public.name;
        if team == "web" {
            expected.insert(0, name);
        }
    }
    let ask = |filter: &str, page_token: &str| ListTokensRequest {
        parent: acme.clone(),
        filter: filter.to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
    };
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        // Another spelling of the same filter continues the list.
        let filter = if names.len() % 2 == 0 {
            "labels.team = web"
        } else {
            "(labels.team:'web')"
        };
        let page = server
            .admin()
            .token_admin()
            .list_tokens(ask(filter, &page_token))
            .await
            .expect("ListTokens succeeds")
            .into_inner();
        assert_eq!(page.total_size, 4, "the total of the first page");
        names.extend(page.tokens.into_iter().map(|token| token.name));
        if page.next_page_token.is_empty() {
            break;
        }
        // A new token sorts before the first page.
        server
            .token(CreateTokenRequest {
                labels: labels(&[("team", "web")]),
                ..token_in(&acme)
            })
            .await;
        page_token = page.next_page_token;
    }
    assert_eq!(names, expected);
    for other in ["", "labels.team = other", "state = ACTIVE"] {
        server
            .admin()
            .token_admin()
            .list_tokens(ask(other, &page_token))
            .await
            .refused_field("page_token");
    }
    let unfiltered = server
        .admin()
        .token_admin()
        .list_tokens(ask("", ""))
        .await
        .expect("ListTokens succeeds")
        .into_inner();
    let answer = server
        .admin()
        .token_admin()
        .list_tokens(ask("labels.team = web", &unfiltered.next_page_token))
        .await;
    answer.refused_field("page_token");
}

//! `tokend migrate`, and servers that bring the schema up to date by themselves.

use tokend_tests::{Installation, Process, on_both_databases, on_postgres};

on_both_databases!(status_tells_how_the_schema_stands, two_at_once_both_finish);

mod several {
    use super::*;

    on_postgres!(two_servers_on_a_fresh_schema_both_come_up);

    async fn two_servers_on_a_fresh_schema_both_come_up(installation: Installation) {
        let key = installation.init().await;
        let (one, other) = tokio::join!(installation.serve(&key), installation.serve(&key));
        one.workspace("acme").await;
        let token = other.token(tokend_tests::token_in("workspaces/acme")).await;
        assert_eq!(one.get_token(&token.public.name).await, token.public);
    }
}

async fn status_tells_how_the_schema_stands(installation: Installation) {
    installation.init().await;
    let told = installation.run_on_data(["migrate", "status"]).await.succeeded();
    assert!(!told.trim().is_empty());
    installation.run_on_data(["migrate", "up"]).await.succeeded();
    assert_eq!(installation.run_on_data(["migrate", "status"]).await.succeeded(), told, "there was nothing to do");
}

async fn two_at_once_both_finish(installation: Installation) {
    std::fs::create_dir_all(installation.data_dir()).expect("a directory can be made");
    let up = || Process::spawn(installation.command_on_data(["migrate", "up"]), "").finish();
    let (one, other) = tokio::join!(up(), up());
    one.succeeded();
    other.succeeded();
    let key = installation.init().await;
    installation.serve(&key).await.workspace("acme").await;
}

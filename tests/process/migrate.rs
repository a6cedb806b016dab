//! `tokend migrate`, and servers that migrate the schema at their start.

use tokend_tests::{Installation, Process, on_both_databases, token_in};

on_both_databases!(
    status_reports_the_schema_version,
    migrate_refuses_an_uninitialized_database,
    two_concurrent_migrations_succeed,
);

async fn status_reports_the_schema_version(installation: Installation) {
    installation.init().await;
    let output = installation.run_on_data(["migrate", "status"]).await.succeeded();
    assert!(!output.trim().is_empty());
    installation.run_on_data(["migrate", "up"]).await.succeeded();
    assert_eq!(
        installation.run_on_data(["migrate", "status"]).await.succeeded(),
        output,
        "`migrate up` changes nothing"
    );
}

async fn migrate_refuses_an_uninitialized_database(installation: Installation) {
    for command in ["status", "up"] {
        let sentence = installation
            .run_on_data(["migrate", command])
            .await
            .failed_with_a_sentence();
        assert!(sentence.contains("tokend init"), "{sentence}");
    }
    let key = installation.init().await;
    installation.serve(&key).await.workspace("acme").await;
}

async fn two_concurrent_migrations_succeed(installation: Installation) {
    let key = installation.init().await;
    let up = || Process::spawn(installation.command_on_data(["migrate", "up"]), "").finish();
    let (one, other) = tokio::join!(up(), up());
    one.succeeded();
    other.succeeded();
    installation.serve(&key).await.workspace("acme").await;
}

mod of_several_servers {
    use tokend_tests::on_postgres;

    use super::*;

    on_postgres!(two_servers_that_start_together_both_serve);

    async fn two_servers_that_start_together_both_serve(installation: Installation) {
        let key = installation.init().await;
        let (one, other) = tokio::join!(installation.serve(&key), installation.serve(&key));
        let acme = one.workspace("acme").await;
        let token = other.token(token_in(&acme)).await;
        assert_eq!(one.get_token(&token.public.name).await, token.public);
        one.revoke(&token.public.name).await;
        let verdict = other.verdict(tokend_tests::question(&token.secret, &acme, &[])).await;
        assert_eq!(verdict.deny_reason(), tokend_client::v1::DenyReason::Revoked);
    }
}

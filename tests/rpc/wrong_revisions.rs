//! A database whose revision is not what it should be: memory must not be trusted.

use tokend_client::v1::{Decision, VerifyRequest};
use tokend_tests::{Installation, eventually, http, on_postgres, question, token_in};
use tonic::Code;

use crate::leases::{allowed, warm};

on_postgres!(
    an_older_database_in_the_same_epoch_stops_the_server,
    a_forged_revision_is_refused
);

/// Somebody has put a backup in place of the database, under a running server.
async fn an_older_database_in_the_same_epoch_stops_the_server(installation: Installation) {
    let database = installation.postgres().expect("the installation uses PostgreSQL");
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let asked = question(&token.secret, &acme, &[]);
    warm(&server, &asked).await;
    let is_ready = async || (http::get(server.ops_address(), "/readyz").0 == 200).then_some(());
    // A database is copied while nobody is connected.
    database.cut_off();
    let backup = database.copy();
    database.restore();
    eventually("the server is ready", is_ready).await;
    server.revoke(&token.public.name).await;
    database.cut_off();
    database.become_copy_of(&backup);
    database.restore();
    eventually("the server stops", async || {
        (http::get(server.ops_address(), "/readyz").0 == 503).then_some(())
    })
    .await;
    eventually("no verdict is given", async || {
        let answer = server.admin().token_verify().verify(asked.clone()).await;
        match answer {
            Ok(verdict) => {
                assert_eq!(verdict.into_inner().decision(), Decision::Deny, "the token was revoked");
                None
            }
            Err(status) => Some(status),
        }
    })
    .await;
    eventually("the log says why", async || {
        let log = server.process().stderr();
        log.contains("gone back to an older state").then_some(())
    })
    .await;
}

/// With a revision of the future, what a server keeps in memory would never become outdated.
async fn a_forged_revision_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let asked = question(&server.token(token_in(&acme)).await.secret, &acme, &[]);
    assert!(allowed(&server, &asked).await);
    installation.sql("UPDATE feed SET revision = revision + 1000000").await;
    let fresh = VerifyRequest {
        fully_consistent: true,
        ..asked.clone()
    };
    let refused = server.admin().token_verify().verify(fresh).await;
    assert_eq!(
        refused.expect_err("the row is not what tokend wrote").code(),
        Code::Internal
    );
}

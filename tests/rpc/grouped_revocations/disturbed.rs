//! A workspace or caller that can't be changed disturbs the revocations of no other.

use std::time::Duration;

use tokend_client::v1::{ErrorReason, Role, token::State};
use tokend_tests::{Installation, Refused, held_writes, on_both_databases, on_postgres};
use tokio::time::timeout;
use tonic::Code;

use super::{answer, last_revision, open, revoke, revoked, tokens, until_queued};

on_both_databases!(a_damaged_audit_chain_fails_only_its_own_workspace);

/// Less than the time for which the settings of these tests let a write wait for a lock.
const PROMPT: Duration = Duration::from_secs(8);
const ROUNDS: usize = 3;

async fn a_damaged_audit_chain_fails_only_its_own_workspace(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let (of_acme, of_globex) = (
        tokens(&server, &acme, 3 * ROUNDS).await,
        tokens(&server, &globex, 3 * ROUNDS).await,
    );
    let damage = "UPDATE audit_chains SET sequence = sequence + 1 WHERE chain = 'acme'";
    assert_eq!(installation.sql(damage).await, 1);
    for round in 0..ROUNDS {
        let held = held_writes::hold(&installation).await;
        let (failing, good) = (
            &of_acme[3 * round..3 * (round + 1)],
            &of_globex[3 * round..3 * (round + 1)],
        );
        let mut good_calls = vec![open(&server, &good[0]).await];
        let mut failing_calls = vec![revoke(server.admin(), &failing[0])];
        // From the second round on, the damaged workspace has transactions of its own, which begin at once.
        let (running, waiting) = if round == 0 { (1, 1) } else { (2, 0) };
        until_queued(&server, running, waiting).await;
        good_calls.extend(good[1..].iter().map(|name| revoke(server.admin(), name)));
        failing_calls.extend(failing[1..].iter().map(|name| revoke(server.admin(), name)));
        until_queued(&server, running, waiting + 4).await;
        held.release().await;
        for call in good_calls {
            let token = revoked(call).await.token.expect("a token");
            assert_eq!(token.state(), State::Revoked);
        }
        for call in failing_calls {
            answer(call).await.refused(Code::Internal, ErrorReason::InternalFault);
        }
    }
    for name in of_acme {
        assert_eq!(server.get_token(&name).await.state(), State::Active);
    }
    last_revision(&installation).await;
}

mod locked {
    use sqlx::{AssertSqlSafe, Connection, PgConnection};

    use super::*;

    on_postgres!(
        a_locked_workspace_holds_up_no_other,
        a_held_caller_holds_up_no_other,
        a_locked_audit_chain_fails_other_workspaces_never,
    );

    /// Runs a statement in a transaction of another session, which keeps its locks until it is closed.
    async fn lock(installation: &Installation, statement: &str) -> PgConnection {
        let database = installation.postgres().expect("the database is PostgreSQL");
        let mut session = PgConnection::connect(database.url())
            .await
            .expect("the server is reachable");
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {statement}")))
            .execute(&mut session)
            .await
            .expect("the lock is taken");
        session
    }

    async fn a_locked_workspace_holds_up_no_other(installation: Installation) {
        let server = installation.start().await;
        let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
        let (of_acme, of_globex) = (
            tokens(&server, &acme, 2 * ROUNDS).await,
            tokens(&server, &globex, 2 * ROUNDS).await,
        );
        let session = lock(&installation, "SELECT FROM workspaces WHERE id = 'acme' FOR UPDATE").await;
        let mut waiting = Vec::new();
        let prompt = timeout(PROMPT, async {
            for round in 0..ROUNDS {
                let range = 2 * round..2 * (round + 1);
                waiting.extend(of_acme[range.clone()].iter().map(|name| revoke(server.admin(), name)));
                let good: Vec<_> = of_globex[range]
                    .iter()
                    .map(|name| revoke(server.admin(), name))
                    .collect();
                for call in good {
                    revoked(call).await;
                }
            }
        });
        prompt.await.expect("the other workspace's tokens are revoked promptly");
        assert!(waiting.iter().all(|call| !call.is_finished()));
        session.close().await.expect("the session ends");
        for call in waiting {
            let token = revoked(call).await.token.expect("a token");
            assert_eq!(token.state(), State::Revoked);
        }
        last_revision(&installation).await;
    }

    async fn a_held_caller_holds_up_no_other(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let names = tokens(&server, &acme, 4).await;
        let ada = server.caller("ada", Role::Admin).await;
        let ada = server.client(&ada.secret).await;
        let session = lock(
            &installation,
            "SELECT pg_advisory_xact_lock(hashtextextended('ada', 0))",
        )
        .await;
        let waiting: Vec<_> = names[..2].iter().map(|name| revoke(&ada, name)).collect();
        let prompt = timeout(PROMPT, async {
            for name in &names[2..] {
                revoked(revoke(server.admin(), name)).await;
            }
        });
        prompt.await.expect("the other caller's tokens are revoked promptly");
        assert!(waiting.iter().all(|call| !call.is_finished()));
        session.close().await.expect("the session ends");
        for call in waiting {
            let token = revoked(call).await.token.expect("a token");
            assert_eq!((token.state(), token.revoker.as_str()), (State::Revoked, "callers/ada"));
        }
    }

    async fn a_locked_audit_chain_fails_other_workspaces_never(installation: Installation) {
        let admin_key = installation.init().await;
        let settings = installation.directory().join("impatient.toml");
        let limits = "[limits]\nadmin_deadline_ms = 30000\nlock_timeout_ms = 500\n";
        std::fs::write(&settings, limits).expect("the file is written");
        let server = installation
            .serve_with(&admin_key, ["--config", &settings.to_string_lossy()])
            .await;
        let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
        let (of_acme, of_globex) = (
            tokens(&server, &acme, 2 * ROUNDS).await,
            tokens(&server, &globex, 2 * ROUNDS).await,
        );
        let session = lock(
            &installation,
            "SELECT FROM audit_chains WHERE chain = 'acme' FOR UPDATE",
        )
        .await;
        for round in 0..ROUNDS {
            let range = 2 * round..2 * (round + 1);
            let failing: Vec<_> = of_acme[range.clone()]
                .iter()
                .map(|name| revoke(server.admin(), name))
                .collect();
            let good: Vec<_> = of_globex[range]
                .iter()
                .map(|name| revoke(server.admin(), name))
                .collect();
            for call in good {
                revoked(call).await;
            }
            for call in failing {
                answer(call)
                    .await
                    .refused(Code::Unavailable, ErrorReason::StorageUnavailable);
            }
        }
        session.close().await.expect("the session ends");
        for name in of_acme {
            revoked(revoke(server.admin(), &name)).await;
        }
        last_revision(&installation).await;
    }
}

//! The limits on calls, connections, streams and messages. Each test has its own server process and database.

mod changes_in_progress;
mod deadlines;
mod failed_authentications;
mod floods;
mod in_flight;
mod messages;
mod revocation_lane;
mod revoked_callers;
mod shares;
mod strangers;
mod streams;

mod peer;

use std::fs;

use tokend_tests::{Installation, Server};

/// Long deadlines, so that calls stay in progress as long as a test needs them.
const PATIENT: &str = "verify_deadline_ms = 60000\nadmin_deadline_ms = 60000\nrevocation_deadline_ms = 60000\n\
                       body_deadline_ms = 60000\nwrite_wait_ms = 60000";

/// Starts a server with limits that a test can reach.
async fn serve(installation: &Installation, limits: &str) -> Server {
    let admin_key = installation.init().await;
    serve_again(installation, &admin_key, limits).await
}

/// Starts a server with these limits on an existing installation.
async fn serve_again(installation: &Installation, admin_key: &str, limits: &str) -> Server {
    let file = installation.directory().join("limits.toml");
    fs::write(&file, format!("reflection = true\n[limits]\n{limits}\n")).expect("the file is written");
    installation
        .serve_with(admin_key, ["--config", file.to_str().expect("the path is UTF-8")])
        .await
}

tokend_tests::define_run_test!();

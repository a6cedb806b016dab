//! What nobody can have more of than their share, whatever they do. Each test has a server process and a database of its own.

mod deadlines;
mod ended_callers;
mod failed_authentications;
mod floods;
mod in_flight;
mod messages;
mod revocation_lane;
mod shares;
mod strangers;
mod streams;

mod peer;

use std::fs;

use tokend_tests::{Installation, Server};

/// Limits under which calls stay under way for as long as a test needs them.
const PATIENT: &str = "verify_deadline_ms = 60000\nadmin_deadline_ms = 60000\nrevocation_deadline_ms = 60000\n\
                       body_deadline_ms = 60000\nwrite_wait_ms = 60000";

/// A server under limits that a test can reach.
async fn serve(installation: &Installation, limits: &str) -> Server {
    let admin_key = installation.init().await;
    serve_again(installation, &admin_key, limits).await
}

/// The same where there was a server before.
async fn serve_again(installation: &Installation, admin_key: &str, limits: &str) -> Server {
    let file = installation.directory().join("limits.toml");
    fs::write(&file, format!("reflection = true\n[limits]\n{limits}\n")).expect("it can be written");
    installation.serve_with(admin_key, ["--config", file.to_str().expect("it is text")]).await
}

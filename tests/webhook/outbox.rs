//! Messages put into the outbox past the program, and what is left of them.

use tokend_tests::{Installation, eventually};

/// The body of a message.
pub(crate) fn payload(id: &str) -> String {
    format!("{{\"type\":\"token.expired\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"data\":{{\"token\":\"{id} 🦀\",\"n\":1.0}}}}")
}

/// Puts messages into the outbox, due at once.
pub(crate) async fn enqueue(installation: &Installation, ids: &[&str]) {
    let row = |id: &&str| format!("('{id}', 'token.expired', 'workspaces/acme/tokens/{id}', '{}', 1, 0, 1)", payload(id));
    let rows: Vec<_> = ids.iter().map(row).collect();
    let columns = "id, event, subject, payload, create_time, attempts, due_time";
    installation.sql(&format!("INSERT INTO webhook_outbox ({columns}) VALUES {}", rows.join(", "))).await;
}

/// What is in the outbox.
pub(crate) async fn waiting(installation: &Installation) -> Vec<String> {
    installation.texts("SELECT id FROM webhook_outbox ORDER BY id").await
}

/// Waits until the outbox is empty.
pub(crate) async fn empties(installation: &Installation) {
    eventually("the outbox is empty", async || waiting(installation).await.is_empty().then_some(())).await;
}

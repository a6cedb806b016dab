-- What the webhook's receiver does not have yet. due_time: when the next try may begin; whoever tries moves it ahead, so that nobody
-- else tries meanwhile.
CREATE TABLE webhook_outbox (
    id          TEXT    NOT NULL PRIMARY KEY,
    event       TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    payload     TEXT    NOT NULL,
    create_time INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    due_time    INTEGER NOT NULL,
    mac         BLOB    NOT NULL
) STRICT;

CREATE INDEX webhook_outbox_by_due_time ON webhook_outbox (due_time);

-- What the webhook's receiver does not have yet. due_time: when the next try may begin; whoever tries moves it ahead, so that nobody
-- else tries meanwhile.
CREATE TABLE webhook_outbox (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    event       TEXT             NOT NULL,
    subject     TEXT             NOT NULL,
    payload     TEXT             NOT NULL,
    create_time BIGINT           NOT NULL,
    attempts    BIGINT           NOT NULL,
    due_time    BIGINT           NOT NULL,
    mac         BYTEA            NOT NULL
);

CREATE INDEX webhook_outbox_by_due_time ON webhook_outbox (due_time);

-- One row for each revision from now on: the names of what changed, one per line. terms: how often the lease was changed.
CREATE TABLE feed_log (
    revision BIGINT NOT NULL PRIMARY KEY,
    epoch    BIGINT NOT NULL,
    body     TEXT   NOT NULL,
    mac      BYTEA  NOT NULL
);

ALTER TABLE feed ADD COLUMN terms BIGINT NOT NULL DEFAULT 0;

-- One row for each revision from now on: the names of what changed, one per line. terms: how often the lease was changed.
CREATE TABLE feed_log (
    revision INTEGER NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    mac      BLOB    NOT NULL
);

ALTER TABLE feed ADD COLUMN terms INTEGER NOT NULL DEFAULT 0;

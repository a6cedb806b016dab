-- What ended for good, in the order of commits, as the lines that are exported: what a restored backup must not revive.
CREATE TABLE endings (
    position BIGINT NOT NULL PRIMARY KEY,
    epoch    BIGINT NOT NULL,
    line     TEXT NOT NULL
);

-- Where an epoch begins and ends.
CREATE INDEX endings_by_epoch ON endings (epoch, position);

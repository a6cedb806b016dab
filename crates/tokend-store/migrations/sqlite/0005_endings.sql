-- What ended for good, in the order of commits, as the lines that are exported: what a restored backup must not revive.
CREATE TABLE endings (
    position INTEGER NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    line     TEXT NOT NULL
) STRICT;

-- Where an epoch begins and ends.
CREATE INDEX endings_by_epoch ON endings (epoch, position);

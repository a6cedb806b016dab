-- Where each chain of the audit log begins and ends. chain: `-` for the installation's, or a workspace's id.
CREATE TABLE audit_chains (
    chain         TEXT    NOT NULL PRIMARY KEY,
    sequence      INTEGER NOT NULL,
    hash          BLOB    NOT NULL,
    base_sequence INTEGER NOT NULL,
    base_hash     BLOB    NOT NULL,
    begin_time    INTEGER NOT NULL,
    chains        INTEGER NOT NULL,
    kid           TEXT    NOT NULL,
    mac           BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_events (
    chain         TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    time          INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    caller        TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    address       TEXT    NOT NULL,
    resource      TEXT    NOT NULL,
    outcome       TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    detail        TEXT    NOT NULL,
    row_digest    BLOB    NOT NULL,
    kid           TEXT    NOT NULL,
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL,
    PRIMARY KEY (chain, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoints (
    chain    TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    kid      TEXT    NOT NULL,
    mac      BLOB    NOT NULL,
    PRIMARY KEY (chain, sequence)
) STRICT, WITHOUT ROWID;

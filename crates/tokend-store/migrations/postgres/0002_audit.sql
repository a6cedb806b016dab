-- Where each chain of the audit log begins and ends. chain: `-` for the installation's, or a workspace's id.
CREATE TABLE audit_chains (
    chain         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sequence      BIGINT           NOT NULL,
    hash          BYTEA            NOT NULL,
    base_sequence BIGINT           NOT NULL,
    base_hash     BYTEA            NOT NULL,
    begin_time    BIGINT           NOT NULL,
    chains        BIGINT           NOT NULL,
    kid           TEXT             NOT NULL,
    mac           BYTEA            NOT NULL
);

CREATE TABLE audit_events (
    chain         TEXT COLLATE "C" NOT NULL,
    sequence      BIGINT           NOT NULL,
    time          BIGINT           NOT NULL,
    type          TEXT             NOT NULL,
    caller        TEXT             NOT NULL,
    actor         TEXT             NOT NULL,
    address       TEXT             NOT NULL,
    resource      TEXT             NOT NULL,
    outcome       TEXT             NOT NULL,
    reason        TEXT             NOT NULL,
    detail        TEXT             NOT NULL,
    row_digest    BYTEA            NOT NULL,
    kid           TEXT             NOT NULL,
    previous_hash BYTEA            NOT NULL,
    hash          BYTEA            NOT NULL,
    PRIMARY KEY (chain, sequence)
);

CREATE TABLE audit_checkpoints (
    chain    TEXT COLLATE "C" NOT NULL,
    sequence BIGINT           NOT NULL,
    time     BIGINT           NOT NULL,
    hash     BYTEA            NOT NULL,
    kid      TEXT             NOT NULL,
    mac      BYTEA            NOT NULL,
    PRIMARY KEY (chain, sequence)
);

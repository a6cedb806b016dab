-- Ids sort by their bytes, whatever the database's locale.

CREATE TABLE installation (
    one          SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    create_time  BIGINT   NOT NULL,
    first_caller TEXT     NOT NULL
);

CREATE TABLE keyring_keys (
    kid         TEXT   NOT NULL PRIMARY KEY,
    fingerprint BYTEA  NOT NULL,
    create_time BIGINT NOT NULL
);

CREATE TABLE feed (
    one          SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch        BIGINT   NOT NULL,
    revision     BIGINT   NOT NULL,
    grant_micros BIGINT   NOT NULL,
    wait_micros  BIGINT   NOT NULL CHECK (grant_micros <= wait_micros),
    time_floor   BIGINT   NOT NULL
);

CREATE TABLE workspaces (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    display_name TEXT             NOT NULL,
    organization TEXT,
    state        TEXT             NOT NULL,
    state_time   BIGINT,
    create_time  BIGINT           NOT NULL,
    token_count  BIGINT           NOT NULL,
    mac          BYTEA            NOT NULL
);

CREATE TABLE tokens (
    id               BYTEA            NOT NULL PRIMARY KEY CHECK (octet_length(id) = 12),
    workspace        TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    kid              TEXT             NOT NULL,
    digest           BYTEA            NOT NULL,
    resource         TEXT             NOT NULL,
    display_name     TEXT             NOT NULL,
    description      TEXT             NOT NULL,
    catalog_version  BIGINT           NOT NULL,
    scopes           TEXT             NOT NULL,
    effective_scopes TEXT             NOT NULL,
    allowed_cidrs    TEXT             NOT NULL,
    labels           TEXT             NOT NULL,
    create_time      BIGINT           NOT NULL,
    creator          TEXT             NOT NULL,
    expire_time      BIGINT,
    revoke_time      BIGINT,
    revoker          TEXT,
    revoke_reason    TEXT,
    mac              BYTEA            NOT NULL
);

-- The order of lists.
CREATE INDEX tokens_by_create_time ON tokens (workspace, create_time, id);
-- What counts as active: an end that has come by itself is told by expire_time.
CREATE INDEX tokens_not_revoked ON tokens (workspace, expire_time) WHERE revoke_time IS NULL;

CREATE TABLE callers (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role             TEXT             NOT NULL,
    workspaces       TEXT             NOT NULL,
    certificate_sans TEXT             NOT NULL,
    create_time      BIGINT           NOT NULL,
    mac              BYTEA            NOT NULL
);

CREATE TABLE caller_keys (
    id          BYTEA            NOT NULL PRIMARY KEY CHECK (octet_length(id) = 12),
    caller      TEXT COLLATE "C" NOT NULL REFERENCES callers (id),
    kid         TEXT             NOT NULL,
    digest      BYTEA            NOT NULL,
    create_time BIGINT           NOT NULL,
    expire_time BIGINT           NOT NULL,
    revoke_time BIGINT,
    mac         BYTEA            NOT NULL
);

CREATE INDEX caller_keys_by_create_time ON caller_keys (caller, create_time, id);

CREATE TABLE request_ids (
    caller      TEXT COLLATE "C" NOT NULL,
    rpc         TEXT             NOT NULL,
    parent      TEXT             NOT NULL,
    request_id  TEXT             NOT NULL,
    digest      BYTEA            NOT NULL,
    token       BYTEA            NOT NULL,
    create_time BIGINT           NOT NULL,
    PRIMARY KEY (caller, rpc, parent, request_id)
);

CREATE INDEX request_ids_by_create_time ON request_ids (create_time);

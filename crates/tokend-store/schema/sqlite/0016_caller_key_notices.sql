-- Version 16: caller_key_notices, SHA-384 a5fdb26cf0b39f0bb723b3cc4d799f56adb9f2b8720c47e70f0083f5c274579514f8db3cef93d463639f36bdeac6f5d5

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
, is_feed_sealed INTEGER NOT NULL DEFAULT 0 CHECK (is_feed_sealed IN (0, 1))) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoints (
    chain    TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    kid      TEXT    NOT NULL,
    mac      BLOB    NOT NULL,
    PRIMARY KEY (chain, sequence)
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

CREATE TABLE caller_certificate_sans (
    san    TEXT NOT NULL PRIMARY KEY,
    caller TEXT NOT NULL REFERENCES callers (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX caller_certificate_sans_by_caller ON caller_certificate_sans (caller);

CREATE TABLE caller_key_notices (
    key       BLOB     NOT NULL PRIMARY KEY,
    told      INTEGER  NOT NULL,
    look_time INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX caller_key_notices_by_look_time ON caller_key_notices (look_time, key) WHERE look_time IS NOT NULL;

CREATE TABLE caller_key_usage (
    key            BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 12),
    last_used_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE caller_keys (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    caller      TEXT    NOT NULL REFERENCES callers (id),
    kid         TEXT    NOT NULL,
    digest      BLOB    NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER,
    mac         BLOB    NOT NULL
) STRICT;

CREATE INDEX caller_keys_by_create_time ON caller_keys (caller, create_time, id);

CREATE TABLE callers (
    id               TEXT    NOT NULL PRIMARY KEY,
    role             TEXT    NOT NULL,
    workspaces       TEXT    NOT NULL,
    certificate_sans TEXT    NOT NULL,
    create_time      INTEGER NOT NULL,
    mac              BLOB    NOT NULL
) STRICT;

CREATE TABLE endings (
    position INTEGER NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    line     TEXT NOT NULL
) STRICT;

CREATE TABLE feed (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch        INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    grant_micros INTEGER NOT NULL,
    wait_micros  INTEGER NOT NULL CHECK (grant_micros <= wait_micros),
    time_floor   INTEGER NOT NULL
, last_ending INTEGER NOT NULL DEFAULT 0, restoring INTEGER NOT NULL DEFAULT 0 CHECK (restoring IN (0, 1)), mac BLOB) STRICT;

CREATE TABLE installation (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    create_time  INTEGER NOT NULL,
    first_caller TEXT    NOT NULL
) STRICT;

CREATE TABLE keyring_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    create_time INTEGER NOT NULL
, state TEXT NOT NULL DEFAULT 'VERIFIES' CHECK (state IN ('VERIFIES', 'ACTIVE', 'RETIRED')), activate_time INTEGER, retire_time INTEGER) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX keyring_keys_one_active ON keyring_keys (state) WHERE state = 'ACTIVE';

CREATE TABLE notice_plans (
    workspace   TEXT NOT NULL PRIMARY KEY,
    create_time INTEGER,
    token       BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
    id           TEXT    NOT NULL PRIMARY KEY,
    display_name TEXT    NOT NULL,
    create_time  INTEGER NOT NULL,
    mac          BLOB    NOT NULL
, policy TEXT NOT NULL DEFAULT '', policy_update_time INTEGER, policy_deadlines TEXT NOT NULL DEFAULT '') STRICT;

CREATE TABLE request_ids (
    caller      TEXT    NOT NULL,
    rpc         TEXT    NOT NULL,
    parent      TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    digest      BLOB    NOT NULL,
    token       BLOB    NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (caller, rpc, parent, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_ids_by_create_time ON request_ids (create_time);

CREATE TABLE token_notices (
    token     BLOB    NOT NULL PRIMARY KEY,
    told      INTEGER NOT NULL,
    look_time INTEGER,
    end_time  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX token_notices_by_end_time ON token_notices (end_time, token) WHERE end_time IS NOT NULL;

CREATE INDEX token_notices_by_look_time ON token_notices (look_time, token) WHERE look_time IS NOT NULL;

CREATE TABLE token_usage (
    token          BLOB    NOT NULL PRIMARY KEY CHECK (length(token) = 12),
    last_used_time INTEGER NOT NULL,
    addresses      TEXT    NOT NULL,
    asked_scopes   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    workspace        TEXT    NOT NULL REFERENCES workspaces (id),
    kid              TEXT    NOT NULL,
    digest           BLOB    NOT NULL,
    resource         TEXT    NOT NULL,
    display_name     TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    catalog_version  INTEGER NOT NULL,
    scopes           TEXT    NOT NULL,
    effective_scopes TEXT    NOT NULL,
    allowed_cidrs    TEXT    NOT NULL,
    labels           TEXT    NOT NULL,
    create_time      INTEGER NOT NULL,
    creator          TEXT    NOT NULL,
    expire_time      INTEGER,
    revoke_time      INTEGER,
    revoker          TEXT,
    revoke_reason    TEXT,
    mac              BLOB    NOT NULL
, requested_expire_time INTEGER, rotated_from BLOB CHECK (length(rotated_from) = 12), rotated_to BLOB CHECK (length(rotated_to) = 12)) STRICT;

CREATE INDEX tokens_by_create_time ON tokens (workspace, create_time, id);

CREATE INDEX tokens_by_revoke_time ON tokens (revoke_time, id) WHERE revoke_time IS NOT NULL;

CREATE INDEX tokens_not_revoked ON tokens (workspace, expire_time) WHERE revoke_time IS NULL;

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

CREATE TABLE workspaces (
    id           TEXT    NOT NULL PRIMARY KEY,
    display_name TEXT    NOT NULL,
    organization TEXT,
    state        TEXT    NOT NULL,
    state_time   INTEGER,
    create_time  INTEGER NOT NULL,
    token_count  INTEGER NOT NULL,
    mac          BLOB    NOT NULL
, policy TEXT NOT NULL DEFAULT '', policy_update_time INTEGER, policy_deadlines TEXT NOT NULL DEFAULT '') STRICT;

CREATE INDEX workspaces_by_organization ON workspaces (organization, id);

CREATE INDEX workspaces_deleted ON workspaces (id) WHERE state = 'DELETED' AND token_count > 0;

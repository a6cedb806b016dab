-- Version 1: foundation, SHA-384 fefd92c4b45228dad3157665fe8ce83eddd9fd84f161951235aa647175b37afb815c3c21f0fec00ff413c77c04d9ac3f

CREATE TABLE caller_keys (
    id bytea NOT NULL,
    caller text COLLATE "C" NOT NULL,
    kid text NOT NULL,
    digest bytea NOT NULL,
    create_time bigint NOT NULL,
    expire_time bigint NOT NULL,
    revoke_time bigint,
    mac bytea NOT NULL,
    CONSTRAINT caller_keys_caller_fkey FOREIGN KEY (caller) REFERENCES callers(id),
    CONSTRAINT caller_keys_id_check CHECK ((octet_length(id) = 12)),
    CONSTRAINT caller_keys_pkey PRIMARY KEY (id)
);

CREATE TABLE callers (
    id text COLLATE "C" NOT NULL,
    role text NOT NULL,
    workspaces text NOT NULL,
    certificate_sans text NOT NULL,
    create_time bigint NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT callers_pkey PRIMARY KEY (id)
);

CREATE TABLE feed (
    one smallint NOT NULL,
    epoch bigint NOT NULL,
    revision bigint NOT NULL,
    grant_micros bigint NOT NULL,
    wait_micros bigint NOT NULL,
    time_floor bigint NOT NULL,
    CONSTRAINT feed_check CHECK ((grant_micros <= wait_micros)),
    CONSTRAINT feed_one_check CHECK ((one = 1)),
    CONSTRAINT feed_pkey PRIMARY KEY (one)
);

CREATE TABLE installation (
    one smallint NOT NULL,
    create_time bigint NOT NULL,
    first_caller text NOT NULL,
    CONSTRAINT installation_one_check CHECK ((one = 1)),
    CONSTRAINT installation_pkey PRIMARY KEY (one)
);

CREATE TABLE keyring_keys (
    kid text NOT NULL,
    fingerprint bytea NOT NULL,
    create_time bigint NOT NULL,
    CONSTRAINT keyring_keys_pkey PRIMARY KEY (kid)
);

CREATE TABLE request_ids (
    caller text COLLATE "C" NOT NULL,
    rpc text NOT NULL,
    parent text NOT NULL,
    request_id text NOT NULL,
    digest bytea NOT NULL,
    token bytea NOT NULL,
    create_time bigint NOT NULL,
    CONSTRAINT request_ids_pkey PRIMARY KEY (caller, rpc, parent, request_id)
);

CREATE TABLE tokens (
    id bytea NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    kid text NOT NULL,
    digest bytea NOT NULL,
    resource text NOT NULL,
    display_name text NOT NULL,
    description text NOT NULL,
    catalog_version bigint NOT NULL,
    scopes text NOT NULL,
    effective_scopes text NOT NULL,
    allowed_cidrs text NOT NULL,
    labels text NOT NULL,
    create_time bigint NOT NULL,
    creator text NOT NULL,
    expire_time bigint,
    revoke_time bigint,
    revoker text,
    revoke_reason text,
    mac bytea NOT NULL,
    CONSTRAINT tokens_id_check CHECK ((octet_length(id) = 12)),
    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_workspace_fkey FOREIGN KEY (workspace) REFERENCES workspaces(id)
);

CREATE TABLE workspaces (
    id text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    organization text,
    state text NOT NULL,
    state_time bigint,
    create_time bigint NOT NULL,
    token_count bigint NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT workspaces_pkey PRIMARY KEY (id)
);

CREATE INDEX caller_keys_by_create_time ON caller_keys USING btree (caller, create_time, id);

CREATE INDEX request_ids_by_create_time ON request_ids USING btree (create_time);

CREATE INDEX tokens_by_create_time ON tokens USING btree (workspace, create_time, id);

CREATE INDEX tokens_not_revoked ON tokens USING btree (workspace, expire_time) WHERE (revoke_time IS NULL);

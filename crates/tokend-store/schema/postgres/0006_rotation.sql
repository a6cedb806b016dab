-- Version 6: rotation, SHA-384 453fc1875f093a82f6db3edba299174fe59be245825b52b27a5a1db6732b9e47679ad8b3393805382fdb88591d709354

CREATE TABLE audit_chains (
    chain text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    base_sequence bigint NOT NULL,
    base_hash bytea NOT NULL,
    begin_time bigint NOT NULL,
    chains bigint NOT NULL,
    kid text NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT audit_chains_pkey PRIMARY KEY (chain)
);

CREATE TABLE audit_checkpoints (
    chain text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    time bigint NOT NULL,
    hash bytea NOT NULL,
    kid text NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (chain, sequence)
);

CREATE TABLE audit_events (
    chain text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    time bigint NOT NULL,
    type text NOT NULL,
    caller text NOT NULL,
    actor text NOT NULL,
    address text NOT NULL,
    resource text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    row_digest bytea NOT NULL,
    kid text NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (chain, sequence)
);

CREATE TABLE caller_certificate_sans (
    san text COLLATE "C" NOT NULL,
    caller text COLLATE "C" NOT NULL,
    CONSTRAINT caller_certificate_sans_caller_fkey FOREIGN KEY (caller) REFERENCES callers(id),
    CONSTRAINT caller_certificate_sans_pkey PRIMARY KEY (san)
);

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

CREATE TABLE endings (
    position bigint NOT NULL,
    epoch bigint NOT NULL,
    line text NOT NULL,
    CONSTRAINT endings_pkey PRIMARY KEY ("position")
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
    state text NOT NULL DEFAULT 'VERIFIES'::text,
    activate_time bigint,
    retire_time bigint,
    CONSTRAINT keyring_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT keyring_keys_state_check CHECK ((state = ANY (ARRAY['VERIFIES'::text, 'ACTIVE'::text, 'RETIRED'::text])))
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
    requested_expire_time bigint,
    rotated_from bytea,
    rotated_to bytea,
    CONSTRAINT tokens_id_check CHECK ((octet_length(id) = 12)),
    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_rotated_from_check CHECK ((octet_length(rotated_from) = 12)),
    CONSTRAINT tokens_rotated_to_check CHECK ((octet_length(rotated_to) = 12)),
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

CREATE INDEX caller_certificate_sans_by_caller ON caller_certificate_sans USING btree (caller);

CREATE INDEX caller_keys_by_create_time ON caller_keys USING btree (caller, create_time, id);

CREATE INDEX endings_by_epoch ON endings USING btree (epoch, "position");

CREATE UNIQUE INDEX keyring_keys_one_active ON keyring_keys USING btree (state) WHERE (state = 'ACTIVE'::text);

CREATE INDEX request_ids_by_create_time ON request_ids USING btree (create_time);

CREATE INDEX tokens_by_create_time ON tokens USING btree (workspace, create_time, id);

CREATE INDEX tokens_not_revoked ON tokens USING btree (workspace, expire_time) WHERE (revoke_time IS NULL);

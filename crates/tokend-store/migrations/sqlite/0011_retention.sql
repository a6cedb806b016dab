-- What retention looks for: tokens that were revoked, or whose end by expiry is on record, the oldest ends first; and workspaces that were
-- deleted and have tokens left.
CREATE INDEX tokens_by_revoke_time ON tokens (revoke_time, id) WHERE revoke_time IS NOT NULL;
CREATE INDEX token_notices_by_end_time ON token_notices (end_time, token) WHERE end_time IS NOT NULL;
CREATE INDEX workspaces_deleted ON workspaces (id) WHERE state = 'DELETED' AND token_count > 0;

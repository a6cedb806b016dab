-- Which notices of each caller key's expiry were given, and when the next one is due.
CREATE TABLE caller_key_notices (
    key       BLOB     NOT NULL PRIMARY KEY,
    told      INTEGER  NOT NULL,
    look_time INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX caller_key_notices_by_look_time ON caller_key_notices (look_time, key) WHERE look_time IS NOT NULL;

-- Each existing key is looked at once.
INSERT INTO caller_key_notices (key, told, look_time) SELECT id, 0, 0 FROM caller_keys WHERE revoke_time IS NULL;

-- When caller keys were used last. As little rests on it as on the usage of tokens.
CREATE TABLE caller_key_usage (
    key            BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 12),
    last_used_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

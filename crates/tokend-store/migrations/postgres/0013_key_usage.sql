-- When caller keys were used last. As little rests on it as on the usage of tokens.
CREATE TABLE caller_key_usage (
    key            BYTEA  NOT NULL PRIMARY KEY CHECK (octet_length(key) = 12),
    last_used_time BIGINT NOT NULL
) WITH (fillfactor = 70);

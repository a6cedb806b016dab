-- What use is made of tokens. No verdict rests on it: no row has a MAC. Not in the row of a token, which is never changed but to end it.
CREATE TABLE token_usage (
    token          BLOB    NOT NULL PRIMARY KEY CHECK (length(token) = 12),
    last_used_time INTEGER NOT NULL,
    addresses      TEXT    NOT NULL,
    asked_scopes   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

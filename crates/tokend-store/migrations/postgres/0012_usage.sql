-- What use is made of tokens. No verdict rests on it: no row has a MAC. Not in the row of a token, which is never changed but to end it,
-- and without a reference to it: to check that would lock rows that a revocation needs. Rows are changed time and again, in place.
CREATE TABLE token_usage (
    token          BYTEA  NOT NULL PRIMARY KEY CHECK (octet_length(token) = 12),
    last_used_time BIGINT NOT NULL,
    addresses      TEXT   NOT NULL,
    asked_scopes   TEXT   NOT NULL
) WITH (fillfactor = 70);

-- What was told of each token's end, and when there is something to tell next. Tokens of which there is nothing to tell have no row.
CREATE TABLE token_notices (
    token     BLOB    NOT NULL PRIMARY KEY,
    told      INTEGER NOT NULL,
    look_time INTEGER,
    end_time  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX token_notices_by_look_time ON token_notices (look_time, token) WHERE look_time IS NOT NULL;

-- Each token that there is gets looked at once.
INSERT INTO token_notices (token, told, look_time) SELECT id, 0, 0 FROM tokens WHERE expire_time IS NOT NULL AND revoke_time IS NULL;

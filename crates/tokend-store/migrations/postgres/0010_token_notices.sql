-- What was told of each token's end, and when there is something to tell next. Tokens of which there is nothing to tell have no row.
CREATE TABLE token_notices (
    token     BYTEA    NOT NULL PRIMARY KEY,
    told      SMALLINT NOT NULL,
    look_time BIGINT,
    end_time  BIGINT
);

CREATE INDEX token_notices_by_look_time ON token_notices (look_time, token) WHERE look_time IS NOT NULL;

-- Each token that there is gets looked at once.
INSERT INTO token_notices (token, told, look_time) SELECT id, 0, 0 FROM tokens WHERE expire_time IS NOT NULL AND revoke_time IS NULL;

CREATE TABLE organizations (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    display_name TEXT             NOT NULL,
    create_time  BIGINT           NOT NULL,
    mac          BYTEA            NOT NULL
);

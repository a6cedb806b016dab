CREATE TABLE organizations (
    id           TEXT    NOT NULL PRIMARY KEY,
    display_name TEXT    NOT NULL,
    create_time  INTEGER NOT NULL,
    mac          BLOB    NOT NULL
) STRICT;

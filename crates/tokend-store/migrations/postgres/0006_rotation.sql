-- expire_time is when a token ends, its overlap considered; until now that was always as it was asked for.
ALTER TABLE tokens ADD COLUMN requested_expire_time BIGINT;
ALTER TABLE tokens ADD COLUMN rotated_from BYTEA CHECK (octet_length(rotated_from) = 12);
ALTER TABLE tokens ADD COLUMN rotated_to BYTEA CHECK (octet_length(rotated_to) = 12);

UPDATE tokens SET requested_expire_time = expire_time;

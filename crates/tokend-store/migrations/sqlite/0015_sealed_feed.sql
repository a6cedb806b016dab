-- The feed's row is sealed when a server starts for the first time, which the head of the installation's chain then says. last_ending: the
-- last position in endings. restoring: 1 from the beginning of a restore to its end.
ALTER TABLE feed ADD COLUMN last_ending INTEGER NOT NULL DEFAULT 0;
ALTER TABLE feed ADD COLUMN restoring INTEGER NOT NULL DEFAULT 0 CHECK (restoring IN (0, 1));
ALTER TABLE feed ADD COLUMN mac BLOB;
ALTER TABLE audit_chains ADD COLUMN is_feed_sealed INTEGER NOT NULL DEFAULT 0 CHECK (is_feed_sealed IN (0, 1));

UPDATE feed SET last_ending = (SELECT coalesce(max(position), 0) FROM endings);

-- An export goes by positions alone.
DROP INDEX endings_by_epoch;

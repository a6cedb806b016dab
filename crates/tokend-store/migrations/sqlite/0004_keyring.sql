-- What each key may do: VERIFIES, ACTIVE or RETIRED. Until now one key did everything.
ALTER TABLE keyring_keys ADD COLUMN state TEXT NOT NULL DEFAULT 'VERIFIES' CHECK (state IN ('VERIFIES', 'ACTIVE', 'RETIRED'));
ALTER TABLE keyring_keys ADD COLUMN activate_time INTEGER;
ALTER TABLE keyring_keys ADD COLUMN retire_time INTEGER;

UPDATE keyring_keys SET state = 'ACTIVE', activate_time = create_time
WHERE kid = (SELECT kid FROM keyring_keys ORDER BY create_time, kid LIMIT 1);

CREATE UNIQUE INDEX keyring_keys_one_active ON keyring_keys (state) WHERE state = 'ACTIVE';

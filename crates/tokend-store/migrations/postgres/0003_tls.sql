CREATE TABLE caller_certificate_sans (
    san    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    caller TEXT COLLATE "C" NOT NULL REFERENCES callers (id)
);

CREATE INDEX caller_certificate_sans_by_caller ON caller_certificate_sans (caller);

-- A name that several callers were given before it had to be one caller's stands for none of them.
INSERT INTO caller_certificate_sans (san, caller)
SELECT name.value, min(callers.id) FROM callers, jsonb_array_elements_text(callers.certificate_sans::jsonb) AS name (value)
GROUP BY name.value HAVING count(*) = 1;

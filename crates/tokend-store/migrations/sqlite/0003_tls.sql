CREATE TABLE caller_certificate_sans (
    san    TEXT NOT NULL PRIMARY KEY,
    caller TEXT NOT NULL REFERENCES callers (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX caller_certificate_sans_by_caller ON caller_certificate_sans (caller);

-- A name that several callers were given before it had to be one caller's stands for none of them.
INSERT INTO caller_certificate_sans (san, caller)
SELECT name.value, min(callers.id) FROM callers, json_each(callers.certificate_sans) AS name
GROUP BY name.value HAVING count(*) = 1;

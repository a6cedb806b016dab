-- The policy of each, as text; empty: none was ever set. policy_deadlines: what it and those before it have left, in pairs of times.
ALTER TABLE organizations ADD COLUMN policy TEXT NOT NULL DEFAULT '';
ALTER TABLE organizations ADD COLUMN policy_update_time INTEGER;
ALTER TABLE organizations ADD COLUMN policy_deadlines TEXT NOT NULL DEFAULT '';

ALTER TABLE workspaces ADD COLUMN policy TEXT NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN policy_update_time INTEGER;
ALTER TABLE workspaces ADD COLUMN policy_deadlines TEXT NOT NULL DEFAULT '';

-- Whom an organization's policy binds.
CREATE INDEX workspaces_by_organization ON workspaces (organization, id);

-- Workspaces in which a policy moved tokens' ends: of each token it is to be found out anew when there is something to tell. create_time and
-- token say up to which one that is done, in the order in which they were made; null: of none.
CREATE TABLE notice_plans (
    workspace   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    create_time BIGINT,
    token       BYTEA
);

-- What people did to incidents, allowed or not; an incident's own history says what came of it.
CREATE TABLE IF NOT EXISTS incident_actions
(
    id String,
    incident String,
    verb LowCardinality(String),
    author String,
    `at` Int64,
    document String
)
ENGINE = ReplacingMergeTree
ORDER BY (id);

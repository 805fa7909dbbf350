-- Incidents; the highest version counts. `document`: all of it, JSON as on the log; the columns are what queries ask by.
CREATE TABLE IF NOT EXISTS incidents
(
    id String,
    version Int64,
    kind LowCardinality(String),
    state LowCardinality(String),
    level LowCardinality(String),
    onset Int64,
    detected_at Int64,
    newest Int64,
    resolved_at Nullable(Int64),
    merged_into String,
    document String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (id);

-- What was erased on somebody's word, of whom, and how many rows of which tables (JSON). Rows are added only.
CREATE TABLE IF NOT EXISTS erasures
(
    erased_at Int64,
    kind LowCardinality(String),
    id String,
    author String,
    reason String,
    erased_rows String
)
ENGINE = ReplacingMergeTree
ORDER BY (kind, id, erased_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

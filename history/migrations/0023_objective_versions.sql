-- Service levels as they were promised: versions are added, never changed. `valid_from`: month; `document`: JSON.
CREATE TABLE IF NOT EXISTS objective_versions
(
    customer LowCardinality(String),
    name String,
    valid_from String,
    recorded_at Int64,
    retired UInt8,
    author String,
    document String,
    sha256 String
)
ENGINE = ReplacingMergeTree
ORDER BY (customer, name, valid_from, recorded_at, sha256)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

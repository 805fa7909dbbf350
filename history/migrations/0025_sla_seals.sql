-- Sealed months: the whole account as JSON and its hash. Rows are added once and never changed; the earliest counts.
CREATE TABLE IF NOT EXISTS sla_seals
(
    customer LowCardinality(String),
    name String,
    month String,
    sealed_at Int64,
    sha256 String,
    document String
)
ENGINE = ReplacingMergeTree
ORDER BY (customer, name, month, sealed_at, sha256)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

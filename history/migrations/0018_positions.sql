-- Where the sink goes on in the log. Records from `next` to `intended` may already be stored, in part.
CREATE TABLE IF NOT EXISTS positions
(
    topic LowCardinality(String),
    partition Int64,
    next Int64,
    intended Int64,
    stamp UInt64
)
ENGINE = ReplacingMergeTree(stamp)
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

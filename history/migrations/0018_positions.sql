-- Where the sink goes on in the log: the next offset to read. Written after the rows of the records before it.
CREATE TABLE IF NOT EXISTS positions
(
    topic LowCardinality(String),
    partition Int64,
    next Int64,
    stamp UInt64
)
ENGINE = ReplacingMergeTree(stamp)
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

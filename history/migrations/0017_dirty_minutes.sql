-- Minutes whose rollups do not show all stored rows; written before the rows, cleared after the rollups.
CREATE TABLE IF NOT EXISTS dirty_minutes
(
    minute Int64,
    dirty UInt8,
    stamp UInt64
)
ENGINE = ReplacingMergeTree(stamp)
ORDER BY (minute)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

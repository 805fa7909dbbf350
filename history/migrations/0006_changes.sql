-- What people did to the network; the newest version of an id counts. `scope`, `extra`: JSON objects.
CREATE TABLE IF NOT EXISTS changes
(
    id String,
    kind LowCardinality(String),
    scope String,
    `start` Int64,
    `end` Nullable(Int64),
    author String,
    reference String,
    note String,
    extra String,
    received_at Int64
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY (id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

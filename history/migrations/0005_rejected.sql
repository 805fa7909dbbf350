-- Refused bytes and rows. A replay writes the same id again with state `replayed`, which wins over `kept`.
CREATE TABLE IF NOT EXISTS rejected
(
    id String,
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    received_at Int64 CODEC(Delta, ZSTD(1)),
    sent_at Int64,
    reason LowCardinality(String),
    detail String,
    `rows` String,
    requests Int64,
    slices Int64,
    body String CODEC(ZSTD(3)),
    source LowCardinality(String),
    state LowCardinality(String),
    replayed UInt8 MATERIALIZED state = 'replayed'
)
ENGINE = ReplacingMergeTree(replayed)
ORDER BY (id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

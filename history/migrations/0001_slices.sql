-- Slices as they came. Identity: (device, boot, seq, row); the sink lets each identity in once, and equal
-- repeats of a row collapse under FINAL.
CREATE TABLE IF NOT EXISTS slices
(
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    `row` Int64 CODEC(Delta, ZSTD(1)),
    `start` Int64 CODEC(Delta, ZSTD(1)),
    `end` Int64 CODEC(Delta, ZSTD(1)),
    received_at Int64 CODEC(Delta, ZSTD(1)),
    customer LowCardinality(String),
    service LowCardinality(String),
    app LowCardinality(String),
    client_isp LowCardinality(String),
    client_region LowCardinality(String),
    sched_rule LowCardinality(String),
    device_isp LowCardinality(String),
    device_region LowCardinality(String),
    nat_type LowCardinality(String),
    cohort LowCardinality(String),
    model LowCardinality(String),
    firmware LowCardinality(String),
    requests Int64,
    s2xx Int64,
    s3xx Int64,
    s4xx Int64,
    s5xx Int64,
    f_server Int64,
    f_timeout Int64,
    f_reset Int64,
    f_incomplete Int64,
    bytes Int64,
    cache_hits Int64,
    sessions Int64,
    stalled_sessions Int64,
    play_ms Int64,
    stall_ms Int64,
    latency_cell Array(UInt8),
    latency_count Array(UInt32),
    throughput_cell Array(UInt8),
    throughput_count Array(UInt32),
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device, boot, seq, `row`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

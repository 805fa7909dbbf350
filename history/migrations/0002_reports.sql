-- Headers of accepted reports, idle ones too; (device, boot, seq) once.
CREATE TABLE IF NOT EXISTS reports
(
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    `start` Int64 CODEC(Delta, ZSTD(1)),
    `end` Int64 CODEC(Delta, ZSTD(1)),
    received_at Int64 CODEC(Delta, ZSTD(1)),
    `v` Int64,
    sent_at Int64,
    clock_offset_ms Int64,
    shift_ms Int64,
    oldest_spooled_seq Int64,
    agent LowCardinality(String),
    device_isp LowCardinality(String),
    device_region LowCardinality(String),
    nat_type LowCardinality(String),
    cohort LowCardinality(String),
    model LowCardinality(String),
    firmware LowCardinality(String),
    requests Int64,
    slices Int64,
    rejected_requests Int64,
    rejected_slices Int64,
    total_requests Int64,
    total_slices Int64,
    dropped_requests Int64,
    dropped_slices Int64,
    dropped_reports Int64,
    spool_dropped_requests Int64,
    spool_dropped_slices Int64,
    dropped_by_cause String,
    earlier_boots String,
    digest String,
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device, boot, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

-- The newest report of each box.
CREATE TABLE IF NOT EXISTS devices
(
    device String,
    device_isp LowCardinality(String),
    device_region LowCardinality(String),
    nat_type LowCardinality(String),
    cohort LowCardinality(String),
    model LowCardinality(String),
    firmware LowCardinality(String),
    agent LowCardinality(String),
    boot String,
    seq Int64,
    last_seen Int64,
    received_at Int64,
    clock_offset_ms Int64,
    total_requests Int64,
    total_slices Int64
)
ENGINE = ReplacingMergeTree(last_seen)
ORDER BY (device);

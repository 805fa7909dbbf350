-- The stream's provisional minutes; the highest revision counts.
CREATE TABLE IF NOT EXISTS stream_minutes
(
    minute Int64,
    customer LowCardinality(String),
    service LowCardinality(String),
    revision Int64,
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
    late_requests Int64,
    boxes Int64,
    coverage Nullable(Float64),
    emitted_at Int64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, customer, service);

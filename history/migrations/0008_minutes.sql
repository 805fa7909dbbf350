-- Truth per minute, customer and service; the highest version counts. Cells of a histogram ascend.
CREATE TABLE IF NOT EXISTS minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    customer LowCardinality(String),
    service LowCardinality(String),
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
    latency_count Array(UInt64),
    throughput_cell Array(UInt8),
    throughput_count Array(UInt64),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 2592000000)
ORDER BY (minute, customer, service)
SETTINGS index_granularity = 512;

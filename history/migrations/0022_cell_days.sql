-- Truth per day (UTC) that is over and cell of dimensions, from cell_hours. Partitions at rest become one part each, which FINAL reads as it stands.
CREATE TABLE IF NOT EXISTS cell_days
(
    day Int64 CODEC(Delta, ZSTD(1)),
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
    latency_count Array(UInt64),
    throughput_cell Array(UInt8),
    throughput_count Array(UInt64),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(day, 2592000000)
ORDER BY (day, customer, service, app, client_isp, client_region, sched_rule, device_isp, device_region, nat_type, cohort, model, firmware)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1, index_granularity = 1024;

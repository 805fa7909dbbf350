-- Single requests worth looking at.
CREATE TABLE IF NOT EXISTS exemplars
(
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    `start` Int64 CODEC(Delta, ZSTD(1)),
    `end` Int64 CODEC(Delta, ZSTD(1)),
    received_at Int64 CODEC(Delta, ZSTD(1)),
    `at` Int64,
    customer LowCardinality(String),
    service LowCardinality(String),
    client_isp LowCardinality(String),
    client_region LowCardinality(String),
    sched_rule LowCardinality(String),
    path_hash String,
    status Int64,
    latency_ms Int64,
    failure LowCardinality(String),
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, customer, device, boot, seq, `at`, path_hash, status, latency_ms);

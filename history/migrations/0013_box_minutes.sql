-- What a box reported of a minute: `covered_ms` of 60 000 lie in the union of its report intervals.
CREATE TABLE IF NOT EXISTS box_minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    device LowCardinality(String),
    device_isp LowCardinality(String),
    device_region LowCardinality(String),
    nat_type LowCardinality(String),
    cohort LowCardinality(String),
    model LowCardinality(String),
    firmware LowCardinality(String),
    covered_ms Int64,
    reports Int64,
    requests Int64,
    failures Int64,
    bytes Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device);

-- What a box served a customer in a minute.
CREATE TABLE IF NOT EXISTS device_minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    device LowCardinality(String),
    customer LowCardinality(String),
    requests Int64,
    failures Int64,
    bytes Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device, customer);

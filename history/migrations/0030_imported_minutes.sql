-- Minutes of a past before Dipper, for the detectors to learn from: bad of total per measure, and whether the minute
-- was usual (`ok`) or not (`trouble`: not learned). Never part of figures, books or service levels.
CREATE TABLE IF NOT EXISTS imported_minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    customer LowCardinality(String),
    service LowCardinality(String),
    measure LowCardinality(String),
    bad Int64,
    total Int64,
    label LowCardinality(String),
    source String CODEC(ZSTD(3)),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 2592000000)
ORDER BY (minute, customer, service, measure);

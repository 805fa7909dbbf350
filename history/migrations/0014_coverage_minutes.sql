-- Coverage per customer of ended minutes: weight_measured / weight_placed; NULL: nothing was expected.
-- weight_measured is already lowered by declared drops.
CREATE TABLE IF NOT EXISTS coverage_minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    customer LowCardinality(String),
    coverage Nullable(Float64),
    weight_placed Float64,
    weight_measured Float64,
    requests Int64,
    dropped_requests Float64,
    boxes_placed Int64,
    boxes_measured Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 2592000000)
ORDER BY (minute, customer);

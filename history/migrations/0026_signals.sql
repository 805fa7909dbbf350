-- What the detector said of each series in each minute; said again after a restart it is the same.
CREATE TABLE IF NOT EXISTS signals
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    customer LowCardinality(String),
    service LowCardinality(String),
    measure LowCardinality(String),
    verdict LowCardinality(String),
    reasons LowCardinality(String),
    bad Int64,
    total Int64,
    coverage Nullable(Float64),
    expected Nullable(Float64),
    low Nullable(Float64),
    high Nullable(Float64),
    baseline LowCardinality(String),
    dispersion Nullable(Float64),
    allowed Nullable(Float64),
    onset Int64 CODEC(Delta, ZSTD(1)),
    since_bad Nullable(Float64),
    since_total Nullable(Float64),
    since_expected Nullable(Float64),
    evidence Nullable(Float64),
    p_shift Nullable(Float64),
    p_burn Nullable(Float64),
    `limit` Nullable(Float64),
    page Int64
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(minute, 86400000)
ORDER BY (customer, service, measure, minute);

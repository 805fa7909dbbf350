-- Every change that late data made to an ended minute.
CREATE TABLE IF NOT EXISTS restatements
(
    minute Int64,
    customer LowCardinality(String),
    service LowCardinality(String),
    restated_at Int64,
    requests_before Int64,
    requests_after Int64,
    failures_before Int64,
    failures_after Int64,
    coverage_before Nullable(Float64),
    coverage_after Nullable(Float64)
)
ENGINE = MergeTree
PARTITION BY intDiv(minute, 2592000000)
ORDER BY (minute, customer, service, restated_at);

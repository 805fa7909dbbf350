-- What was stated of a month that had ended, each time the figures differed from those stated before, until the seal.
CREATE TABLE IF NOT EXISTS sla_statements
(
    customer LowCardinality(String),
    name String,
    month String,
    stated_at Int64,
    good Int64,
    bad Int64,
    unmeasured Int64,
    no_traffic Int64,
    excluded Int64,
    lower Nullable(Float64),
    upper Nullable(Float64),
    coverage Nullable(Float64),
    sha256 String
)
ENGINE = ReplacingMergeTree
ORDER BY (customer, name, month, stated_at, sha256);

-- What is stored of each report's slices, per minute: the ledger's side of the books. Two minutes for one report mean
-- that it was stored twice.
CREATE TABLE IF NOT EXISTS stored_reports
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    requests Int64,
    slices Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device, boot, seq);

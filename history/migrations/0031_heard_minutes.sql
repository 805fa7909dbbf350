-- How many boxes of the whole network reported in an ended minute, of customers or not: tells a lull from darkness.
CREATE TABLE IF NOT EXISTS heard_minutes
(
    minute Int64 CODEC(Delta, ZSTD(1)),
    boxes Int64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 2592000000)
ORDER BY minute;

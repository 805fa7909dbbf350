-- Vitals per report; NULL: not measurable on that box.
CREATE TABLE IF NOT EXISTS vitals
(
    device LowCardinality(String),
    boot LowCardinality(String),
    seq Int64 CODEC(Delta, ZSTD(1)),
    `start` Int64 CODEC(Delta, ZSTD(1)),
    `end` Int64 CODEC(Delta, ZSTD(1)),
    received_at Int64 CODEC(Delta, ZSTD(1)),
    cpu_ratio Nullable(Float64),
    load1 Nullable(Float64),
    memory_used_ratio Nullable(Float64),
    flash_used_ratio Nullable(Float64),
    flash_written_bytes Nullable(Float64),
    temperature_c Nullable(Float64),
    rx_bytes_per_s Nullable(Float64),
    tx_bytes_per_s Nullable(Float64),
    uptime_s Nullable(Float64),
    reboots Nullable(Float64),
    clock_offset_ms Nullable(Float64),
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(minute, 86400000)
ORDER BY (device, minute, boot, seq);

-- Where a boot's books begin after its older reports expired: totals at the last expired report.
CREATE TABLE IF NOT EXISTS ledger_horizon
(
    device String,
    boot String,
    seq Int64,
    total_requests Int64,
    total_slices Int64,
    dropped_requests Int64,
    dropped_slices Int64,
    dropped_reports Int64,
    spool_dropped_requests Int64,
    spool_dropped_slices Int64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (device, boot)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_compressed_bytes_to_fsync_after_merge = 1;

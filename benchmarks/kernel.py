"""Speed of the aggregation kernel: slices with all counts and both histograms, beside polars' plain sums.

    python -m benchmarks.kernel --seed 1 [--rows 1000000] [--groups 50000] [--repeats 9]

One core. Rows are generated as an Arrow record batch in the schema of telemetry.slices; the timed work starts at that
batch and ends with groups, exact sums and sparse histograms. Before timing, sums must equal polars' and histograms a
plain Python count over a sample of groups. Writes results/kernel.json and prints it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ["POLARS_MAX_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.common import write_result
from contracts.arrow import batch as make_batch
from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, HISTOGRAM_NAMES, SLICES
from contracts.times import MINUTE_MS
from streams.kernel import Groups, aggregate
from streams.rows import SliceRows, slice_rows

GOAL_ROWS_PER_S = 5_000_000


def generate(rng: np.random.Generator, rows: int, groups: int) -> Any:
    """A record batch of SLICES: `groups` distinct cells in equal shares, about 3 entries per histogram and row."""
    start = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
    group_of = rng.permutation(np.arange(rows) % groups)
    values: dict[str, Any] = {
        "device": _coded(rng.integers(0, 10_000, rows), "box"),
        "boot": _coded(rng.integers(0, 10_000, rows), "boot"),
        "seq": rng.integers(1, 1_000, rows),
        "row": rng.integers(0, 30, rows),
        "start": np.full(rows, start),
        "end": np.full(rows, start + 10_000),
        "received_at": np.full(rows, start + 12_000),
    }
    cardinalities = (20, 2, 3, 5, 20, 30, 5, 20, 4, 3, 4, 5)
    for name, cardinality in zip(CELL_DIMENSIONS, cardinalities, strict=True):
        values[name] = _coded(rng.integers(0, cardinality, groups)[group_of], name)
    for i, name in enumerate(COUNT_NAMES):
        values[name] = rng.integers(0, 10 ** (1 + i % 6), rows)
    for name in HISTOGRAM_NAMES:
        lengths = rng.integers(2, 5, rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        first = np.repeat(rng.integers(1, 90, rows), lengths)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        cells = (first + within * rng.integers(1, 10, rows).repeat(lengths)).astype(np.uint8)
        counts = rng.integers(1, 50, offsets[-1]).astype(np.uint32)
        wire = pa.array(offsets.astype(np.int32))
        values[f"{name}_cell"] = pa.ListArray.from_arrays(wire, pa.array(cells))
        values[f"{name}_count"] = pa.ListArray.from_arrays(wire, pa.array(counts))
    return make_batch(SLICES, values, pa)


def _coded(codes: Any, prefix: str) -> Any:
    names = [f"{prefix}-{i}" for i in range(int(codes.max()) + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))


def kernel(record_batch: Any) -> Groups:
    """What is timed: decode columns, pack keys, group, sum everything."""
    rows = slice_rows(record_batch)
    keys = [rows.start // MINUTE_MS - int(rows.start[0]) // MINUTE_MS]
    keys += [rows.text[name].codes for name in CELL_DIMENSIONS]
    return aggregate(keys, rows.counts, rows.histograms)


def polars_sums(record_batch: Any) -> Any:
    """The bound: plain sums of the same counts by one integer key that is already packed, no histogram."""
    return record_batch.group_by("key").agg([pl.col(name).sum() for name in COUNT_NAMES])


def prove_equal(groups: Groups, rows: SliceRows, packed: Any, plain: Any, rng: np.random.Generator) -> None:
    """Sums of all groups against polars, histograms of sampled groups against a plain Python count."""
    reference = {row[0]: row[1:] for row in plain.iter_rows()}
    group_keys = pack(list(groups.keys[1:]))
    if set(group_keys.tolist()) != set(reference) or len(groups) != len(reference):
        raise SystemExit("groups differ from polars' groups")
    for i, key in enumerate(group_keys.tolist()):
        if tuple(groups.counts[:, i].tolist()) != reference[key]:
            raise SystemExit(f"sums of group {key} differ from polars' sums")
    for i in rng.integers(0, len(groups), 200).tolist():
        members = np.flatnonzero(packed == group_keys[i]).tolist()
        for h, got in zip(rows.histograms, groups.histograms, strict=True):
            expected: dict[int, int] = {}
            for row in members:
                for entry in range(int(h.offsets[row]), int(h.offsets[row + 1])):
                    cell = int(h.cells[entry])
                    expected[cell] = expected.get(cell, 0) + int(h.counts[entry])
            owned = slice(int(got.offsets[i]), int(got.offsets[i + 1]))
            if dict(zip(got.cells[owned].tolist(), got.counts[owned].tolist(), strict=True)) != expected:
                raise SystemExit(f"histogram of group {i} differs from the plain count")


def pack(codes: list[Any]) -> Any:
    """One int64 per row for polars and for the comparison; 6 bits per dimension hold the generated cardinalities."""
    packed = np.zeros(len(codes[0]), np.int64)
    for column in codes:
        packed = packed * 32 + column
    return packed


def best_seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of each repeat over all threads, fastest first: what one core would take, whatever else runs."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return sorted(times)


def main() -> int:
    """Generate, prove equal, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    pa.set_cpu_count(1)
    record_batch = generate(rng, args.rows, args.groups)
    rows = slice_rows(record_batch)
    packed = pack([rows.text[name].codes for name in CELL_DIMENSIONS])
    frame = pl.DataFrame({"key": packed, **dict(zip(COUNT_NAMES, rows.counts, strict=True))})
    prove_equal(kernel(record_batch), rows, packed, polars_sums(frame), rng)
    ours = best_seconds(lambda: kernel(record_batch), args.repeats)
    bound = best_seconds(lambda: polars_sums(frame), args.repeats)
    figures = {
        "seed": args.seed,
        "rows": args.rows,
        "groups": len(np.unique(packed)),
        "histogram_entries": sum(len(h.cells) for h in rows.histograms),
        "proven_equal": True,
        "kernel_rows_per_s": _rates(args.rows, ours),
        "polars_plain_sums_rows_per_s": _rates(args.rows, bound),
        "goal_rows_per_s": GOAL_ROWS_PER_S,
        "goal_met": _rates(args.rows, ours)["median"] >= GOAL_ROWS_PER_S,
    }
    write_result("kernel", figures, ("numpy", "pyarrow", "polars"))
    return 0


def _rates(rows: int, seconds: list[float]) -> dict[str, int]:
    return {"best": round(rows / seconds[0]), "median": round(rows / seconds[len(seconds) // 2])}


if __name__ == "__main__":
    raise SystemExit(main())

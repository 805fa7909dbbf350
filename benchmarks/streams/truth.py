"""What every contestant must say, from the messages, by other means than any of them: Arrow columns and bincount."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.columns import FAILURE_NAMES
from contracts.histogram import CELLS
from contracts.times import MINUTE_MS


class Truth:
    """Sums per (minute, customer, service) of the messages that were added."""

    def __init__(self) -> None:
        self.rows = 0
        self._windows: dict[str, list[Any]] = {}

    def add(self, messages: Iterable[bytes]) -> None:
        """Messages of telemetry.slices."""
        for message in messages:
            with pa.ipc.open_stream(message) as reader:
                self._add(reader.read_next_batch())

    def windows(self) -> dict[str, list[Any]]:
        """In the form of steps.outcome."""
        return {key: [*state[:3], state[3].tolist()] for key, state in self._windows.items()}

    def _add(self, batch: Any) -> None:
        self.rows += batch.num_rows
        minute = batch.column("start").to_numpy() // MINUTE_MS * MINUTE_MS
        texts = [batch.column(name).cast(pa.utf8()) for name in ("customer", "service")]
        keys = pc.binary_join_element_wise(pa.array(minute).cast(pa.utf8()), *texts, "|").dictionary_encode()
        codes, names = keys.indices.to_numpy(), keys.dictionary.to_pylist()
        failures = sum(batch.column(name).to_numpy() for name in FAILURE_NAMES)
        sums = [self._sums(codes, values, len(names)) for values in (batch.column("requests"), failures)]
        sums.append(self._sums(codes, batch.column("bytes"), len(names)))
        lengths = pc.list_value_length(batch.column("latency_cell")).to_numpy()
        address = codes.repeat(lengths).astype(np.int64) * CELLS + batch.column("latency_cell").flatten().to_numpy()
        counts = self._sums(address, batch.column("latency_count").flatten(), len(names) * CELLS)
        for i, (name, histogram) in enumerate(zip(names, counts.reshape(-1, CELLS), strict=True)):
            state = self._windows.setdefault(name, [0, 0, 0, np.zeros(CELLS, np.int64)])
            for j in range(3):
                state[j] += int(sums[j][i])
            state[3] += histogram

    def _sums(self, codes: Any, values: Any, n: int) -> Any:
        # Sums of a message stay far below 2**53, where bincount's floats are exact.
        return np.bincount(codes, np.asarray(values), n).astype(np.int64)

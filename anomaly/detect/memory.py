"""What detectors remember: named arrays with the series on the last axis, to save, load, select and extend alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.detect.errors import BadInput

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Field:
    """One array: the axes before the series, what a new series starts with, dtype."""

    shape: tuple[int, ...] = ()
    fill: float = 0.0
    dtype: type = float


class Memory:
    """Arrays of shape (*field.shape, n_series), and the newest minute learned (minutes since the epoch; -1: none)."""

    def __init__(self, fields: Mapping[str, Field], n_series: int) -> None:
        self._fields = dict(fields)
        self.n_series = n_series
        self.minute = -1
        self._arrays: Arrays = {name: _blank(field, n_series) for name, field in self._fields.items()}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def __setitem__(self, name: str, values: npt.NDArray[Any]) -> None:
        self._arrays[name][...] = values

    def arrays(self, prefix: str) -> Arrays:
        """Copies of all arrays, named `prefix.name`, to be saved; `prefix.minute` has shape ()."""
        saved = {f"{prefix}.{name}": values.copy() for name, values in self._arrays.items()}
        saved[f"{prefix}.minute"] = np.array(self.minute, np.int64)
        return saved

    def load(self, prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over saved arrays. Raises BadInput for one that is missing or has another shape."""
        for name, field in self._fields.items():
            expected = (*field.shape, self.n_series)
            self._arrays[name] = _saved(arrays, f"{prefix}.{name}", expected).astype(field.dtype)
        self.minute = int(_saved(arrays, f"{prefix}.minute", ()))

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        """Keep these series, in this order."""
        self._arrays = {name: values[..., rows] for name, values in self._arrays.items()}
        self.n_series = len(rows)

    def extend(self, n_new: int) -> None:
        """Add series that know nothing yet."""
        for name, field in self._fields.items():
            self._arrays[name] = np.concatenate([self._arrays[name], _blank(field, n_new)], axis=-1)
        self.n_series += n_new


def _blank(field: Field, n_series: int) -> npt.NDArray[Any]:
    return np.full((*field.shape, n_series), field.fill, field.dtype)


def _saved(arrays: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if name not in arrays:
        raise BadInput(name, "expected this array among the saved ones, it is missing")
    if arrays[name].shape != shape:
        raise BadInput(name, f"expected shape {shape}, got {arrays[name].shape}")
    return arrays[name]

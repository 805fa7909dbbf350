"""What a run has worked out, kept per seed, so that a run that was interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from benchmarks.detect.cause import Named
from benchmarks.detect.score import Found, Outcome
from contracts.plain import from_plain, to_plain

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the localiser made of a fault that was found."""

    found: Found
    named: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """All of a seed. `outcomes` by detector; `cpu_s` of our detector, its share of `beside` streams that were worked
    through together."""

    seed: int
    outcomes: Mapping[str, Outcome]
    causes: tuple[Asked, ...] = ()
    cpu_s: float = 0.0
    beside: int = 1


def fingerprint(sources: Iterable[str], *more: object) -> str:
    """Of what an outcome depends on. sources: patterns of files below the repository; more: settings and versions."""
    digest = blake2b(repr(more).encode(), digest_size=8)
    for pattern in sources:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class State:
    """A file per seed in a folder. `key`: outcomes that were made by other code or settings are not taken."""

    def __init__(self, folder: Path, name: str, key: str) -> None:
        self._folder = folder
        self._name = name
        self._key = key

    def get(self, seed: int) -> Kept | None:
        """None when the seed has not been worked out."""
        path = self._path(seed)
        return from_plain(Kept, json.loads(path.read_text()), "bad_state") if path.exists() else None

    def put(self, kept: Kept) -> None:
        """Whole or not at all, should the run end here."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(kept.seed)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(to_plain(kept)) + "\n")
        unfinished.replace(path)

    def _path(self, seed: int) -> Path:
        return self._folder / f"{seed}-{self._name}-{self._key}.json"

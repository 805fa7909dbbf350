"""Detectors of other libraries, run on our streams by a Python of their own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.detect.detectors import Bools
from benchmarks.detect.streams import DAY, Stream

ROOT = Path(__file__).parents[2]
LIBRARIES = ("river", "pyod")


class Peers:
    """`python`: of an environment that holds them."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def versions(self) -> dict[str, str]:
        """Of those that are installed."""
        code = (
            "import importlib.metadata as m, json\n"
            f"print(json.dumps({{d.name.lower(): d.version for d in m.distributions() if d.name in {LIBRARIES!r}}}))"
        )
        found: dict[str, str] = json.loads(subprocess.check_output([self._python, "-c", code], text=True))
        return found

    def missing(self) -> list[str]:
        return sorted(set(LIBRARIES) - self.versions().keys())

    def alarms(self, stream: Stream) -> dict[str, Bools]:
        """Per detector, in the shape of the stream."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "stream.npz", Path(folder) / "alarms.npz"
            begin = stream.plan.warm_up_days * DAY
            np.savez(source, bad=stream.bad, total=stream.total, frozen=stream.frozen, begin=np.array(begin))
            command = [str(part) for part in (self._python, "-m", "benchmarks.detect.peers", source, target)]
            subprocess.run(command, cwd=ROOT, check=True)
            with np.load(target) as found:
                return dict(found)

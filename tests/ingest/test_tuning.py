"""Freed arrays go back to the system: in a process of its own, because the settings cannot be taken back."""

import subprocess
import sys

SCRIPT = """
import sys, threading
import numpy as np
from ingest.tuning import tune_malloc

def mapped_free():
    # 40 arrays of 8 MiB by turns with small ones that stay: without the setting the holes stay mapped
    kept = []
    for _ in range(40):
        big = np.ones(1 << 20)
        kept.append(np.ones(1 << 12))
        del big
    arrays = [np.ones(1 << 20) for _ in range(40)]
    kept += [np.ones(1 << 12) for _ in range(40)]
    del arrays
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096, kept

if sys.argv[1] == "tuned":
    assert tune_malloc()
resident, _ = mapped_free()
print(resident)
"""


def resident_bytes(mode):
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_freed_arrays_leave_no_holes_in_memory():
    tuned, plain = resident_bytes("tuned"), resident_bytes("plain")
    assert tuned < 80 << 20
    assert plain > tuned

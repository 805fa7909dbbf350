import subprocess
import sys

import pytest

from dipper.paths import DataDirBusy, OwnerLock, Paths


def test_a_second_owner_is_refused_with_the_first_ones_pid(tmp_path):
    paths = Paths(tmp_path / "var")
    code = f"""
import sys
from pathlib import Path
from dipper.paths import OwnerLock, Paths
lock = OwnerLock(Paths(Path({str(paths.root)!r})))
print("owned", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(DataDirBusy, match=f"in use by process {owner.pid}"):
            OwnerLock(paths)
        owner.kill()
        owner.wait(10)
        with OwnerLock(paths):
            pass


def test_a_released_directory_can_be_owned_again(tmp_path):
    paths = Paths(tmp_path)
    first = OwnerLock(paths)
    first.release()
    first.release()
    with OwnerLock(paths):
        assert paths.lock.exists()


def test_the_data_directory_is_private(tmp_path):
    paths = Paths(tmp_path / "var")
    with OwnerLock(paths):
        assert paths.root.stat().st_mode & 0o777 == 0o700

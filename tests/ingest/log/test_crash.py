"""After a crash the log holds whole calls, every acknowledged one among them, and no damage goes unseen."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.protocols import LogCorrupt
from ingest.log import LogLocked, salvage
from tests.ingest.log.builders import SLICES, append, open_log, read, record, write_calls

ROOT = Path(__file__).parents[3]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CALLS = 8


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A log of one segment without a sidecar, as a killed process leaves it, and what each call stored."""
    folder = tmp_path_factory.mktemp("crashed") / "log"
    with open_log(folder) as log:
        stored = write_calls(log, CALLS)
    [sidecar] = folder.glob("*.idx")
    sidecar.unlink()
    return folder, stored


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A log of several segments after a clean close, and what each call stored."""
    folder = tmp_path_factory.mktemp("sealed") / "log"
    with open_log(folder, segment_bytes=700) as log:
        stored = write_calls(log, CALLS)
    assert len(list(folder.glob("*.seg"))) >= 3
    return folder, stored


def copy_of(folder, tmp_path):
    target = tmp_path / "copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def is_whole_calls(found, stored):
    """Whether what was found is exactly the first calls, none cut."""
    flat, calls = [], 0
    while len(flat) < len(found):
        flat += stored[calls]
        calls += 1
    return sorted(flat) == sorted(found)


@QUICK
@given(data=st.data())
def test_truncation_at_any_byte_leaves_whole_calls_and_a_log_that_goes_on(crashed, tmp_path, data):
    folder = copy_of(crashed[0], tmp_path)
    [path] = folder.glob("*.seg")
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
    with open_log(folder) as log:
        found = read(log)
        assert is_whole_calls(found, crashed[1])
        [(partition, offset)] = append(log, record(b"after"))
        assert offset == len([f for f in found if f[:2] == (SLICES, 0)])
    with open_log(folder) as log:
        assert sorted(read(log)) == sorted([*found, (SLICES, partition, offset, b"after")])


@QUICK
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_was_in_the_tail_and_never_changes_a_record(crashed, tmp_path, data):
    folder = copy_of(crashed[0], tmp_path)
    [path] = folder.glob("*.seg")
    bit = data.draw(st.integers(0, path.stat().st_size * 8 - 1))
    flip(path, bit)
    try:
        with open_log(folder) as log:
            found = read(log)
    except LogCorrupt as error:
        said, found = str(error), None
    if found is None:
        assert re.search(rf"{path.name} at byte \d+", said)
    else:
        # One fsync per call here: only damage in the very last frame can pass for a torn tail.
        assert is_whole_calls(found, crashed[1])
        assert len(found) == 4 * (CALLS - 1)


@QUICK
@given(data=st.data())
def test_a_flipped_bit_in_sealed_segments_is_always_refused(sealed, tmp_path, data):
    folder = copy_of(sealed[0], tmp_path)
    path = data.draw(st.sampled_from(sorted(folder.glob("*.seg"))))
    flip(path, data.draw(st.integers(0, path.stat().st_size * 8 - 1)))
    with pytest.raises(LogCorrupt, match=r"at byte \d+"), open_log(folder) as log:
        read(log)


@QUICK
@given(data=st.data())
def test_a_damaged_or_missing_sidecar_is_made_again(sealed, tmp_path, data):
    folder = copy_of(sealed[0], tmp_path)
    path = data.draw(st.sampled_from(sorted(folder.glob("*.idx"))))
    damage = data.draw(st.sampled_from(["flip", "cut", "remove"]))
    if damage == "flip":
        flip(path, data.draw(st.integers(0, path.stat().st_size * 8 - 1)))
    elif damage == "cut":
        os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    else:
        path.unlink()
    with open_log(folder) as log:
        assert is_whole_calls(read(log), sealed[1])


def test_a_truncated_sealed_segment_is_refused(sealed, tmp_path):
    folder = copy_of(sealed[0], tmp_path)
    path = max(folder.glob("*.seg"))
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(LogCorrupt, match=path.name):
        open_log(folder)


def test_a_missing_segment_is_refused(sealed, tmp_path):
    folder = copy_of(sealed[0], tmp_path)
    sorted(folder.glob("*.seg"))[1].unlink()
    with pytest.raises(LogCorrupt, match="missing"):
        open_log(folder)


def test_frames_of_one_unfinished_fsync_may_be_torn_in_any_order(tmp_path):
    folder = tmp_path / "log"
    log = open_log(folder, group_commit_ms=200)
    append(log, record(b"durable"))
    futures = [log.submit([record(b"group %d" % i)]) for i in range(3)]  # one group: they wait for the same fsync
    [f.result(10) for f in futures]
    log.close()
    [sidecar] = folder.glob("*.idx")
    sidecar.unlink()
    [path] = folder.glob("*.seg")
    flip(path, (path.read_bytes().index(b"group 0")) * 8)
    with open_log(folder) as log:
        assert [value for *_, value in read(log)] == [b"durable"]


@QUICK
@given(data=st.data())
def test_salvage_keeps_every_whole_frame_and_reuses_no_offset(sealed, tmp_path, data):
    folder = copy_of(sealed[0], tmp_path)
    path = data.draw(st.sampled_from(sorted(folder.glob("*.seg"))))
    head = path.read_bytes().index(b"\xd1\xfeFr")
    flip(path, data.draw(st.integers(head * 8, path.stat().st_size * 8 - 1)))
    [damage] = salvage(folder)
    assert damage.path == path
    assert damage.first_lost == damage.last_lost
    assert path.with_suffix(".seg.damaged").exists()
    everything = sorted(place for call in sealed[1] for place in call)
    lost = sorted(sealed[1][damage.first_lost])
    with open_log(folder) as log:
        assert sorted(read(log)) == [place for place in everything if place not in lost]
        places = append(log, *(record(b"after", partition=p) for p in (0, 1)))
        for partition, offset in places:
            assert offset > max(o for t, p, o, _ in everything if (t, p) == (SLICES, partition))
    with open_log(folder) as log:
        assert len(read(log)) == len(everything) - 4 + 2
    assert salvage(folder) == []


def test_salvage_mends_a_cut_and_a_missing_segment(sealed, tmp_path):
    folder = copy_of(sealed[0], tmp_path)
    paths = sorted(folder.glob("*.seg"))
    paths[1].unlink()
    os.truncate(paths[-1], paths[-1].stat().st_size - 1)
    damage = salvage(folder)
    assert damage[0].path == paths[2]
    lost = {n for d in damage for n in range(d.first_lost, d.last_lost + 1)}
    everything = [place for n, call in enumerate(sealed[1]) for place in call if n not in lost]
    with open_log(folder) as log:
        assert sorted(read(log)) == sorted(everything)
        assert append(log, record(b"after"))[0][1] > max(
            o for c in sealed[1] for t, p, o, _ in c if (t, p) == (SLICES, 0)
        )


def test_salvage_from_the_command_line_says_what_is_lost(sealed, tmp_path):
    folder = copy_of(sealed[0], tmp_path)
    path = min(folder.glob("*.seg"))
    flip(path, (path.stat().st_size - 1) * 8)
    done = subprocess.run(
        [sys.executable, "-m", "ingest.log.salvage", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert path.name in done.stdout
    assert "lost" in done.stdout


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.ingest.log.builders import open_log, record, REPORTS
log = open_log(Path(sys.argv[2]), segment_bytes=20_000, group_commit_ms=1)
for call in range(1_000_000):
    records = [record(b"%d/s%d" % (call, i), partition=i % 2) for i in range(3)]
    records.append(record(b"%d/r" % call, topic=REPORTS))
    log.submit(records).add_done_callback(lambda f, call=call: (f.result(), print(call, flush=True)))
    if call % 7 == 0:
        log.flush()
"""


@pytest.mark.parametrize("after", [30, 400])
def test_kill_9_loses_no_acknowledged_call(tmp_path, after):
    folder = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ROOT), str(folder)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = [int(process.stdout.readline()) for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait(10)
    process.stdout.close()
    with open_log(folder) as log:
        found = read(log)
    calls = {}
    for _, _, _, value in found:
        calls.setdefault(int(value.split(b"/")[0]), []).append(value)
    assert set(acknowledged) <= set(calls)
    assert all(len(values) == 4 for values in calls.values())
    assert sorted(calls) == list(range(len(calls)))


def test_one_process_at_a_time(tmp_path):
    log = open_log(tmp_path / "log")
    with pytest.raises(LogLocked, match=f"process {os.getpid()}"):
        open_log(tmp_path / "log")
    with pytest.raises(LogLocked):
        salvage(tmp_path / "log")
    log.close()
    open_log(tmp_path / "log").close()

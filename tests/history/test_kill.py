"""The sink's process is killed at moments nobody chose; what it stored and what it stores after a restart add up."""

import random
import signal
import subprocess
import sys
import textwrap

from history.chdb_store import ChdbStore
from history.ledger import ledger
from ingest.log.embedded import EmbeddedLog
from tests.history.builders import T0, random_fleet, send, shifted
from tests.history.test_sink import assert_truth

CHILD = """
    import sys
    from pathlib import Path
    from history.chdb_store import ChdbStore
    from history.sink import Sink, SinkSettings
    from ingest.log.embedded import EmbeddedLog
    from tests.history.builders import MINUTE, T0

    log = EmbeddedLog(Path(sys.argv[1]), min_free_bytes=0)
    settings = SinkSettings(flush_every_ms=0, block_rows=25, poll_records=10, blocks_per_step=1)
    sink = Sink(log, ChdbStore(sys.argv[2], min_free_bytes=0), settings)
    while True:
        done = sink.step(T0 + 5 * MINUTE)
        print(done.records, flush=True)
        if done.caught_up and not done.records:
            break
    sink.drain(T0 + 5 * MINUTE)
    print("done", flush=True)
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(own_path, tmp_path):
    chance = random.Random(11)
    reports = random_fleet(chance, boxes=4, minutes=3)
    log = EmbeddedLog(tmp_path / "log", min_free_bytes=0)
    for report in reports:
        send(log, report, *([shifted(report, 10_000)] if chance.random() < 0.2 else []))
    log.close()
    kills, ended = 0, False
    while not ended:
        ended = run_child(tmp_path / "log", own_path, lines=chance.randint(1, 4) if kills < 5 else 10_000)
        kills += not ended
    assert kills == 5
    with ChdbStore(own_path, min_free_bytes=0) as store:
        assert_truth(store, reports)
        books = ledger(store, T0)
        assert books.balanced
        assert books.requests.stored == books.requests.reported - books.requests.declared_dropped
        assert (books.requests.lost, books.requests.double_counted, books.unheaded) == (0, 0, (0, 0))


def run_child(log, path, lines):
    """Whether the sink came to its end before it was killed, somewhere after so many steps."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(log), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            for _ in range(lines):
                line = child.stdout.readline()
                if line == "done\n":
                    return child.wait(30) == 0
                assert line, "the sink failed"
        finally:
            child.send_signal(signal.SIGKILL)
    return False

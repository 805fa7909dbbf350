"""Look-ups: what is valid at a time, which keys are accepted, how a process learns of another's changes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.entities import DeviceAttributes
from contracts.protocols import Registry
from ingest.registry import SqliteRegistry
from tests.ingest.registry.builders import NOW, make_attributes, make_customer

times = st.integers(0, 40)
rows = st.lists(st.tuples(times, st.sampled_from(["a", "b", "c"])), min_size=1, max_size=8)


def reference(written: list[tuple[int, str]], at: int) -> str:
    """Slow: of the rows not after `at` the latest, of equals the last written; else the earliest row."""
    before = [(start, i, region) for i, (start, region) in enumerate(written) if start <= at]
    if before:
        return max(before)[2]
    earliest = min(start for start, _ in written)
    return [region for start, region in written if start == earliest][-1]


def test_implements_the_protocol(registry: SqliteRegistry) -> None:
    as_protocol: Registry = registry
    assert as_protocol.version() >= 1


@settings(max_examples=60, deadline=None)
@given(written=rows, asked=st.lists(times, min_size=1, max_size=10))
def test_attributes_agree_with_a_slow_reference(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, str]], asked: list[int]
) -> None:
    path = tmp_path_factory.mktemp("r") / "registry.sqlite"
    with SqliteRegistry(path, check_every_s=0.0) as registry:
        registry.add_device("box-1", make_attributes(valid_from=written[0][0], device_region=written[0][1]), 0)
        for start, region in written[1:]:
            registry.set_attributes("box-1", make_attributes(valid_from=start, device_region=region), 0)
        with SqliteRegistry(path) as reopened:
            for at in asked:
                for opened in (registry, reopened):
                    found = opened.attributes("box-1", at)
                    assert found is not None
                    assert found.device_region == reference(written, at)


def test_unknown_things_are_none_or_empty(registry: SqliteRegistry) -> None:
    assert registry.attributes("nobody", NOW) is None
    assert list(registry.keys("nobody")) == []
    assert registry.customer("nobody") is None
    assert registry.device("nobody") is None


def test_a_device_without_enrolment_has_attributes_but_no_key(registry: SqliteRegistry) -> None:
    registry.add_device("box-1", make_attributes(), NOW)
    assert registry.attributes("box-1", NOW) == make_attributes()
    assert list(registry.keys("box-1")) == []


def test_version_counts_up_with_every_write(registry: SqliteRegistry) -> None:
    seen = [registry.version()]
    registry.add_device("box-1", make_attributes(), NOW)
    seen.append(registry.version())
    registry.add_customer(make_customer())
    seen.append(registry.version())
    registry.revoke("box-1", NOW)
    seen.append(registry.version())
    assert seen == sorted(set(seen))


def test_another_process_s_changes_are_seen(sqlite_registry: SqliteRegistry) -> None:
    sqlite_registry.add_device("box-1", make_attributes(), NOW)
    key = sqlite_registry.add_key("box-1", NOW)
    before = sqlite_registry.version()
    script = (
        "import sys; from pathlib import Path; from ingest.registry import SqliteRegistry\n"
        "from tests.ingest.registry.builders import *\n"
        "r = SqliteRegistry(Path(sys.argv[1]))\n"
        "r.add_device('box-2', make_attributes(device_region='hubei'), NOW); r.revoke('box-1', NOW)\n"
        "r.add_customer(make_customer('other')); r.close()"
    )
    assert [k.key_id for k in sqlite_registry.keys("box-1")] == [key.key_id]
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script, str(sqlite_registry.path)], check=True, cwd=root, timeout=60)
    found = sqlite_registry.attributes("box-2", NOW)
    assert found is not None
    assert found.device_region == "hubei"
    assert list(sqlite_registry.keys("box-1")) == []
    assert [c.id for c in sqlite_registry.customers()] == ["other"]
    assert sqlite_registry.version() > before


def test_look_ups_ask_the_file_only_after_the_throttle(tmp_path: Path) -> None:
    at = 100.0
    with (
        SqliteRegistry(tmp_path / "r.sqlite", monotonic=lambda: at, check_every_s=0.2) as reading,
        SqliteRegistry(tmp_path / "r.sqlite") as writing,
    ):
        writing.add_customer(make_customer())
        at = 100.199
        assert reading.customer("acme") is None
        at = 100.2
        assert reading.customer("acme") == make_customer()


def test_a_process_sees_its_own_writes_at_once(tmp_path: Path) -> None:
    with SqliteRegistry(tmp_path / "r.sqlite", monotonic=lambda: 100.0, check_every_s=1e9) as registry:
        registry.add_customer(make_customer())
        assert registry.customer("acme") == make_customer()


def test_readers_never_see_half_a_change(tmp_path: Path) -> None:
    """Threads look up while another registry rewrites; region and cohort of a row always belong together."""
    path = tmp_path / "r.sqlite"
    torn: list[DeviceAttributes] = []
    failed: list[BaseException] = []
    with SqliteRegistry(path, check_every_s=0.0) as reading, SqliteRegistry(path) as writing:
        writing.add_device("box", make_attributes(device_region="0", cohort="0"), NOW)
        assert reading.attributes("box", NOW) is not None
        done = threading.Event()

        def look() -> None:
            try:
                while not done.is_set():
                    found = reading.attributes("box", NOW + 1000)
                    if found is None or found.device_region != found.cohort:
                        torn.append(found or make_attributes())
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(1, 60):
            writing.set_attributes("box", make_attributes(valid_from=NOW + i, device_region=f"{i}", cohort=f"{i}"), NOW)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = reading.attributes("box", NOW + 1000)
            if found is not None and found.cohort == "59":
                break
        done.set()
        for thread in threads:
            thread.join(timeout=10)
        found = reading.attributes("box", NOW + 1000)
    assert not torn
    assert not failed
    assert found is not None
    assert found.cohort == "59"


def test_a_big_fleet_loads_and_keeps_what_was_given(tmp_path: Path) -> None:
    fleet = [
        (f"box-{i:05d}", make_attributes(device_region=f"r{i % 31}", capacity_mbps=float(i))) for i in range(3_000)
    ]
    with SqliteRegistry(tmp_path / "r.sqlite") as registry:
        keys = registry.bulk_add_devices(fleet, NOW)
    with SqliteRegistry(tmp_path / "r.sqlite") as reopened:
        assert len(reopened.device_ids()) == 3_000
        for device, attributes in fleet[::97]:
            assert reopened.attributes(device, NOW) == attributes
            assert list(reopened.keys(device)) == [keys[device]]
    assert len({key.secret for key in keys.values()}) == 3_000


def test_bulk_add_again_keeps_keys_and_notes_new_attributes(registry: SqliteRegistry) -> None:
    first = registry.bulk_add_devices([("a", make_attributes()), ("b", make_attributes())], NOW)
    moved = replace(make_attributes(), valid_from=NOW + 5, device_region="hubei")
    second = registry.bulk_add_devices([("a", moved), ("b", make_attributes())], NOW + 5)
    assert second == first
    rows_of_a = registry.device("a")
    rows_of_b = registry.device("b")
    assert rows_of_a is not None
    assert rows_of_b is not None
    assert rows_of_a.attributes == (make_attributes(), moved)
    assert rows_of_b.attributes == (make_attributes(),)


def test_bulk_add_takes_secrets_that_were_made_elsewhere(registry: SqliteRegistry) -> None:
    fleet = [("a", make_attributes()), ("b", make_attributes())]
    given = {"a": bytes(range(32))}
    first = registry.bulk_add_devices(fleet, NOW, given)
    assert [key.secret for key in registry.keys("a")] == [given["a"]]
    assert registry.bulk_add_devices(fleet, NOW, given) == first
    other = {"a": bytes(range(1, 33))}
    assert registry.bulk_add_devices(fleet, NOW, other)["a"].secret == other["a"]
    assert [key.secret for key in registry.keys("a")] == [other["a"], given["a"]]
    assert list(registry.keys("b")) == [first["b"]]
    with pytest.raises(ValueError, match="secret: expected 32 bytes, got '5 bytes'"):
        registry.bulk_add_devices(fleet, NOW, {"a": b"short"})


def test_bulk_add_is_all_or_nothing(registry: SqliteRegistry) -> None:
    before = registry.version()
    with pytest.raises(ValueError, match="capacity_mbps"):
        registry.bulk_add_devices([("a", make_attributes()), ("b", make_attributes(capacity_mbps=-1.0))], NOW)
    assert registry.device_ids() == []
    assert registry.version() == before

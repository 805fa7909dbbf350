"""Subscribers over real sockets, and the scheduler's client against a real server."""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from contracts.health import FADE_MS
from contracts.times import MINUTE_MS
from feed.app import FeedSettings
from feed.client import ClientError, Copy, HealthClient
from tests.feed.builders import NOW, TOKEN, Served, brief, entry, read_until, until

SUBSCRIBERS = 40


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as opened:
        yield opened


def events(data: bytes) -> list[dict]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


def test_a_subscriber_gets_what_changes_and_can_resume_from_an_id(served: Served) -> None:
    served.publish(entry("a", 1), entry("b", 2))
    with served.raw_stream() as client:
        read_until(client, b": version 2\n\n")
        served.publish(entry("a", 3, state="drain"))
        told = events(read_until(client, b'"version":3'))
        assert [(d["device"], d["state"]) for d in told[0]["devices"]] == [("a", "drain")]
    served.publish(entry("b", 4), entry("c", 5))
    with served.raw_stream(last_event_id="3") as client:
        told = events(read_until(client, b'"device":"c"') + client.recv(100))
        assert [d["device"] for e in told for d in e["devices"]][:2] == ["b", "c"]


def test_every_subscriber_gets_every_change(served: Served) -> None:
    clients = [served.raw_stream() for _ in range(SUBSCRIBERS)]
    opened = [c.__enter__() for c in clients]
    for client in opened:
        read_until(client, b": version")
    assert served.feed.streams.subscribers == SUBSCRIBERS
    served.publish(*(entry(f"d{i}", i + 1) for i in range(600)))
    for client in opened:
        read_until(client, b'"device":"d599"')
    for c in clients:
        c.__exit__(None, None, None)
    until(lambda: served.feed.streams.subscribers == 0)


def test_a_subscriber_that_stops_reading_is_dropped_and_others_go_on() -> None:
    limits = FeedSettings(stalled_s=0.5, requests_per_s=1e6, requests_burst=1e6)
    with Served(limits) as served, served.raw_stream(window=4096) as deaf, served.raw_stream() as alert:
        read_until(deaf, b": version")
        read_until(alert, b": version")
        version = 0
        deadline = time.monotonic() + 30
        while served.feed.streams.dropped == 0:
            assert time.monotonic() < deadline, "nobody was dropped"
            served.publish(*(entry(f"d{i}", version + i + 1) for i in range(2_000)))
            version += 2_000
            read_until(alert, b"id: %d\n" % version)
        until(lambda: served.feed.streams.subscribers == 1)


def test_too_many_subscribers_of_a_token_are_refused() -> None:
    limits = FeedSettings(streams_per_token=1, requests_per_s=1e6, requests_burst=1e6)
    with Served(limits) as served, served.raw_stream() as first, served.raw_stream() as second:
        both = {first: b"", second: b""}
        for client in both:
            both[client] = client.recv(200)
        assert sorted(data.split(b" ")[1] for data in both.values()) == [b"200", b"429"]


def test_a_quiet_stream_beats() -> None:
    with Served(FeedSettings(beat_s=0.1)) as served, served.raw_stream() as client:
        read_until(client, b": beat\n\n")


@pytest.mark.parametrize("busy", [False, True])
def test_a_stream_ends_once_its_token_is_revoked(busy: bool) -> None:
    limits = FeedSettings(beat_s=0.3, requests_per_s=1e6, requests_burst=1e6)
    with Served(limits) as served:
        with served.raw_stream() as client:
            read_until(client, b": version")
            served.tokens.revoked = True
            version = 0
            while client.recv(65_536):  # until the server closes
                version += 1
                if busy:
                    served.publish(entry("a", version))
            assert served.feed.streams.subscribers == 0
        with served.raw_stream() as again:
            assert read_until(again, b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_token_is_asked_for_once_a_beat_however_often_the_book_changes() -> None:
    limits = FeedSettings(beat_s=60, requests_per_s=1e6, requests_burst=1e6)
    with Served(limits) as served, served.raw_stream() as client:
        read_until(client, b": version")
        for version in range(1, 50):
            served.publish(entry("a", version))
            read_until(client, b"id: %d\n" % version)
        assert served.tokens.asked == 1


# --- the client ---


def client_of(served: Served, token: str = TOKEN) -> HealthClient:
    return HealthClient(served.url, token, clock=lambda: NOW)


def test_the_client_follows_a_snapshot_and_the_stream(served: Served) -> None:
    served.publish(entry("a", 1), entry("b", 2, state="drain"))
    client = client_of(served)
    client.start()
    try:
        assert client.wait(20)
        assert (client.share("a"), client.share("b"), client.share("unheard-of")) == (1.0, 0.015, 1.0)
        assert (client.state("b"), client.value("b"), client.value("unheard-of")) == ("drain", 0.2, 0.5)
        until(lambda: client.connected)
        served.publish(entry("a", 3, state="reduce"))
        until(lambda: client.share("a") == 0.3)
    finally:
        client.stop()


def test_the_client_takes_a_snapshot_when_its_version_is_not_known_any_more(served: Served) -> None:
    served.publish(entry("a", 1, state="drain"), entry("b", 2))
    client = client_of(served)
    client.start()
    try:
        assert client.wait(20)
        until(lambda: client.connected)

        def forget() -> None:
            served.book.remove("a")
            served.feed.streams.wake()

        served.call(forget)
        until(lambda: client.copy.known("a") is None)
        assert client.share("a") == 1.0
    finally:
        client.stop()


def test_the_client_survives_a_feed_that_goes_away_and_scores_fade() -> None:
    now = [NOW]
    with Served() as served:
        served.publish(entry("b", 2, state="drain"))
        client = HealthClient(served.url, TOKEN, clock=lambda: now[0])
        client.start()
        assert client.wait(20)
    try:
        until(lambda: client.error)
        assert client.share("b") == 0.015
        now[0] = NOW + 10 * MINUTE_MS + FADE_MS // 2
        until(lambda: client.share("b") > 0.5)
        assert client.share("b") == pytest.approx(0.5075)
        assert client.state("b") == "serve"
        now[0] += FADE_MS
        until(lambda: client.share("b") == 1.0)
        assert client.value("b") == 0.5
    finally:
        client.stop()


def test_a_token_that_is_not_accepted_is_said_and_look_ups_go_on(served: Served) -> None:
    client = client_of(served, "guess")
    client.start()
    try:
        until(lambda: "401" in client.error)
        assert client.share("a") == 1.0
    finally:
        client.stop()


def answer_of(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", "content-encoding: gzip", *headers]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


def snapshot_answers(damage: str) -> list[bytes]:
    """Two answers to a snapshot, the first of them damaged on its way."""
    numbers = random.Random(3)  # values that do not compress, so that half a body is half a document
    rows = [{**brief(f"box-{i}", i + 1, "drain"), "value": numbers.random()} for i in range(400)]
    whole = gzip.compress(json.dumps({"version": 400, "devices": rows}).encode())
    half = len(whole) // 2
    bad = {
        "cut short": answer_of(whole[:half], f"content-length: {len(whole)}"),
        "cut short, of unknown length": answer_of(whole[:half]),
        "garbled": answer_of(whole[:half] + bytes(len(whole) - half), f"content-length: {len(whole)}"),
    }[damage]
    return [bad, answer_of(whole, f"content-length: {len(whole)}")]


@pytest.mark.parametrize("damage", ["cut short", "cut short, of unknown length", "garbled"])
def test_the_client_asks_again_after_a_damaged_snapshot(damage: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def serve() -> None:
            for answer in snapshot_answers(damage):
                connection, _ = server.accept()
                with connection:
                    read_until(connection, b"\r\n\r\n")
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = HealthClient(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, clock=lambda: NOW)
        client.start()
        try:
            until(lambda: client.error)  # it is said
            assert client.wait(10)
            assert (client.share("box-7"), len(client.copy)) == (0.015, 400)
        finally:
            client.stop()
            thread.join(20)


@pytest.mark.parametrize("url", ["", "ftp://x", "dipper.example", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="url"):
        HealthClient(url, TOKEN)


def test_a_copy_takes_no_older_row_and_forgets_what_a_snapshot_leaves_out() -> None:
    copy = Copy()
    copy.apply(5, iter([brief("a", 5, "drain")]), NOW)
    copy.apply(4, iter([brief("a", 4, "serve")]), NOW)
    assert (copy.share("a", 1.0), copy.version) == (0.015, 5)
    copy.replace(3, iter([brief("b", 2, "reduce")]), NOW)
    assert (copy.share("a", 1.0), copy.share("b", 1.0), copy.version) == (1.0, 0.3, 3)


def test_a_row_that_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="expected value and share"):
        Copy().apply(1, iter([{**brief("a", 1, "drain"), "share": 7}]), NOW)


def test_a_look_up_waits_for_nobody_who_writes() -> None:
    client = HealthClient("http://127.0.0.1:1", TOKEN)
    client.copy.apply(1, (brief(f"box-{i}", 1, "reduce") for i in range(10)), NOW)
    shares: list[float] = []
    asking = threading.Thread(target=lambda: shares.extend(client.share(f"box-{i}") for i in range(20)), daemon=True)
    with client._lock:  # what the other threads hold while they write
        asking.start()
        asking.join(20)
        assert len(shares) == 20

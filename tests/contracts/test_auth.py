"""Authentication against RFC 2104 written out by hand and RFC 4231's vectors; ids."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.auth import Envelope, check_id, headers_for, signature, verify
from contracts.errors import ContractError
from tests.contracts.strategies import ids

BLOCK_BYTES = 64  # SHA-256's block


def rfc2104(key: bytes, text: bytes) -> str:
    """H(K XOR opad, H(K XOR ipad, text)), RFC 2104 section 2."""
    if len(key) > BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    key = key.ljust(BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + text).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).hexdigest()


def test_the_reference_itself_answers_rfc_4231() -> None:
    assert rfc2104(b"\x0b" * 20, b"Hi There") == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert (
        rfc2104(b"Jefe", b"what do ya want for nothing?")
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(key=st.binary(min_size=1, max_size=100), device=ids, boot=ids, seq=st.integers(1, 2**53), body=st.binary())
def test_the_signature_is_the_hmac_of_the_canonical_text(
    key: bytes, device: str, boot: str, seq: int, body: bytes
) -> None:
    text = b"dipper-1\n" + f"{device}\n{boot}\n{seq}\n1767225600000\n".encode() + body
    assert signature(key, device, boot, seq, 1_767_225_600_000, body) == rfc2104(key, text)


ENVELOPE = Envelope("box-1", "b0", 7, 1_767_225_600_000, "")
KEY = bytes(range(32))


def signed(body: bytes) -> Envelope:
    e = ENVELOPE
    return replace(e, signature=signature(KEY, e.device, e.boot, e.seq, e.sent_at, body))


def test_what_was_signed_is_verified() -> None:
    assert verify(KEY, signed(b"body"), b"body")


@pytest.mark.parametrize(
    "change",
    [{"device": "box-2"}, {"boot": "b1"}, {"seq": 8}, {"sent_at": 1_767_225_600_001}, {"signature": ""}],
    ids=lambda change: next(iter(change)),
)
def test_any_change_of_the_envelope_breaks_the_signature(change: dict[str, object]) -> None:
    assert not verify(KEY, replace(signed(b"body"), **change), b"body")


def test_another_body_or_key_breaks_the_signature() -> None:
    assert not verify(KEY, signed(b"body"), b"bodY")
    assert not verify(KEY, signed(b"body"), b"body\n")
    assert not verify(KEY[::-1], signed(b"body"), b"body")


@given(bad=st.text(max_size=70))
def test_no_header_text_verifies_or_crashes(bad: str) -> None:
    assert not verify(KEY, replace(ENVELOPE, signature=bad), b"body")


@pytest.mark.parametrize("bad", ["é" * 64, "\udcff" * 64, "\x00" * 64])
def test_a_signature_outside_ascii_is_wrong_not_an_error(bad: str) -> None:
    assert verify(KEY, replace(ENVELOPE, signature=bad), b"body") is False


def test_headers_carry_what_the_signature_covers() -> None:
    assert headers_for(KEY, "box-1", "b0", 7, 1_767_225_600_000, b"body") == {
        "dipper-device": "box-1",
        "dipper-boot": "b0",
        "dipper-seq": "7",
        "dipper-sent-at": "1767225600000",
        "dipper-signature": signed(b"body").signature,
    }


@given(identity=ids)
def test_good_ids_are_returned(identity: str) -> None:
    assert check_id("device", identity) == identity


@pytest.mark.parametrize("bad", ["", "-a", ".a", "a b", "a\n", "a/b", "ä", "x" * 65, None, 7, b"a", ["a"]])
def test_bad_ids_are_refused_with_the_field(bad: object) -> None:
    with pytest.raises(ContractError) as caught:
        check_id("some.field", bad)
    assert (caught.value.reason, caught.value.field) == ("bad_id", "some.field")

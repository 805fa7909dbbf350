"""Signed texts: what was signed is read, anything else is refused."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import signed

KEY, CONTEXT = bytes(range(32)), b"test-1\n"
VALUES = st.lists(st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20), max_size=5)


def test_the_text_is_the_payload_and_its_hmac():
    payload = b'["acme",7]'
    mac = hmac.new(KEY, CONTEXT + payload, hashlib.sha256).digest()
    expected = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (payload, mac)).decode()
    assert signed.sign(KEY, CONTEXT, ["acme", 7]) == expected
    assert signed.mac_of(expected) == expected.split(".")[1]


@given(VALUES)
def test_what_was_signed_is_read(values):
    assert signed.read(KEY, CONTEXT, signed.sign(KEY, CONTEXT, values), 10_000) == values


@given(VALUES, st.data())
def test_a_text_with_one_character_changed_is_refused(values, data):
    text = signed.sign(KEY, CONTEXT, values)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda c: c != text[at]))
    with pytest.raises(signed.NotSigned):
        signed.read(KEY, CONTEXT, text[:at] + other + text[at + 1 :], 10_000)


def test_another_key_another_context_and_too_long_a_text_are_refused():
    text = signed.sign(KEY, CONTEXT, ["acme"])
    for key, context, longest in ((b"x" * 32, CONTEXT, 100), (KEY, b"test-2\n", 100), (KEY, CONTEXT, len(text) - 1)):
        with pytest.raises(signed.NotSigned):
            signed.read(key, context, text, longest)


@pytest.mark.parametrize("text", ["", ".", "a", "e30", "e30.", "é.é", "a.b.c"])
def test_what_is_no_such_text_is_refused(text):
    with pytest.raises(signed.NotSigned):
        signed.read(KEY, CONTEXT, text, 100)

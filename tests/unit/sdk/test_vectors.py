"""The golden vectors against the Python SDK. The Go and TypeScript SDKs read the same files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dex.auth.v1 import auth_pb2
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import DexError, Interval, Key, format_id, open_time_ns, parse_id, time_ns_of
from dexsdk.keys import verify
from dexsdk.signing import (
    access_signing_bytes,
    access_token,
    authorization_header,
    payload_signing_bytes,
    sign_payload,
)
from tests.vectors import make


def load(name: str) -> Any:
    return json.loads((make.FOLDER / name).read_text(encoding="ascii"))


@pytest.mark.parametrize("name", make.FILES)
def test_the_files_are_what_the_generator_writes(name: str) -> None:
    assert (make.FOLDER / name).read_text(encoding="ascii") == make.text_of(name)


@pytest.mark.parametrize("vector", load("signing.json")["accepted"], ids=lambda each: each["name"])
def test_a_payload_is_signed_as_frozen(vector: dict[str, str]) -> None:
    payload = bytes.fromhex(vector["payload"])
    assert payload_signing_bytes(payload).hex() == vector["signing_bytes"]
    assert vector["signing_bytes"] == b"triodex.payload.v1\0".hex() + vector["payload"]
    key = Key(bytes.fromhex(vector["seed"]))
    envelope = sign_payload(key, payload)
    assert envelope.payload == payload
    assert envelope.signature.hex() == vector["signature"]
    assert envelope.public_key.hex() == vector["public_key"]
    assert verify(envelope.public_key, payload_signing_bytes(payload), envelope.signature)
    assert wire.Payload.FromString(payload).nonce > 0


@pytest.mark.parametrize("vector", load("signing.json")["refused"], ids=lambda each: each["name"])
def test_a_wrong_signature_is_refused(vector: dict[str, str]) -> None:
    message = payload_signing_bytes(bytes.fromhex(vector["payload"]))
    public_key, signature = (bytes.fromhex(vector[name]) for name in ("public_key", "signature"))
    assert not verify(public_key, message, signature)


@pytest.mark.parametrize("vector", load("access.json")["tokens"])
def test_a_token_is_made_as_frozen(vector: dict[str, str]) -> None:
    key = Key(bytes.fromhex(vector["seed"]))
    token = access_token(key, vector["network_id"], int(vector["expire_time_ns"]))
    assert token.grant.hex() == vector["grant"]
    assert access_signing_bytes(token.grant).hex() == vector["signing_bytes"]
    assert token.signature.hex() == vector["signature"]
    assert authorization_header(token) == vector["authorization"]
    grant = auth_pb2.AccessGrant.FromString(token.grant)
    assert time_ns_of(grant.expire_time) == int(vector["expire_time_ns"])


def test_ids() -> None:
    vectors = load("ids.json")
    for vector in vectors["ids"]:
        parts = vector["shard"], vector["epoch"], int(vector["sequence"]), vector["index"]
        assert format_id(*parts) == vector["id"]
        parsed = parse_id(vector["id"])
        assert (parsed.shard, parsed.epoch, parsed.sequence, parsed.index) == parts
    for text in vectors["invalid"]:
        with pytest.raises(DexError):
            parse_id(text)
    with pytest.raises(DexError, match="sequence"):
        format_id(0, 0, 1 << 51, 0)


def test_windows() -> None:
    for vector in load("windows.json")["windows"]:
        name = vector["interval"].removeprefix("INTERVAL_")
        interval = Interval[name[-1] + name[:-1]]
        assert open_time_ns(int(vector["time_ns"]), interval) == int(vector["open_time_ns"])


def test_the_signature_is_rfc_8032() -> None:
    """RFC 8032, 7.1, TEST 1: the empty message."""
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    key = Key(bytes.fromhex(seed))
    expected_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.public_bytes.hex() == expected_key
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_the_page_shows_the_vectors() -> None:
    page = (make.FOLDER.parents[1] / "docs" / "reference" / "signing.md").read_text()
    squeezed = "".join(page.split())
    order, token = load("signing.json")["accepted"][0], load("access.json")["tokens"][0]
    for vector, names in (
        (order, ("seed", "public_key", "signing_bytes", "signature")),
        (token, ("grant", "signing_bytes", "signature")),
    ):
        for name in names:
            assert vector[name] in squeezed, name
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    shown = "".join(rows).replace("`", "").replace(" ", "")
    assert order["payload"] in shown

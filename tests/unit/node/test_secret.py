"""A secret shows itself to nobody who does not ask by name."""

from __future__ import annotations

import copy
import json
import stat
from pathlib import Path

import pytest

from dexnode.secret import NODE_SECRET_FILE, Secret, derive_key, load_node_secret


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret("hush")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}"]
    shown += [str([secret]), str({"a": secret}), f"{secret!r:>30}"]
    assert all("hush" not in text for text in shown)
    assert all("*" in text for text in shown)
    assert secret.reveal() == "hush"


def test_it_does_not_leave_the_process() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret("hush"))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("hush"))


def test_it_compares_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert bool(Secret("a"))
    assert not bool(Secret(""))


def test_the_node_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = load_node_secret(tmp_path)
    path = tmp_path / NODE_SECRET_FILE
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_node_secret(tmp_path) == first
    path.unlink()
    assert load_node_secret(tmp_path) != first


def test_a_cut_node_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / NODE_SECRET_FILE).write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes, not 32"):
        load_node_secret(tmp_path)


def test_keys_of_different_purposes_differ() -> None:
    keys = {derive_key(b"s" * 32, purpose) for purpose in ("pages", "tickets")}
    keys.add(derive_key(b"t" * 32, "pages"))
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
    assert derive_key(b"s" * 32, "pages") in keys

"""A file that an auditor is handed may hold anything: what is wrong with it is said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dexnode.audit.proof_file import FileProblem, check_proof_file, read_head_file
from dexsdk import PeerError
from tests.support.command_line import call_dex

ODD: tuple[object, ...] = (
    None,
    1,
    "zz",
    [],
    ["zz"],
    {},
    {"x": 1},
    {"tree_head": 1},
    {"tree_head": "?"},
    {"tree_head": "AAAA", "signature": "AA==", "public_key": "AA=="},
)


@pytest.mark.parametrize("value", ODD)
def test_no_odd_file_is_a_head_or_a_proof(tmp_path: Path, value: object) -> None:
    path = tmp_path / "file.json"
    for document in (value, {"signed_tree_head": value}, {"head": value}):
        path.write_text(json.dumps(document))
        for read in (read_head_file, lambda path: check_proof_file(path, None)):
            with pytest.raises((FileProblem, PeerError)) as raised:
                read(path)
            text = str(raised.value)
            assert len(text.splitlines()) == 1, text
            assert "Failed to parse" not in text
            assert "protobuf" not in text


def test_the_commands_say_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps({"signed_tree_head": "zz"}))
    for arguments in (
        ("verify", str(tmp_path), "--head", str(path)),
        ("head", "--since", str(path)),
        ("prove", "--sequence", "1", "--head", str(path)),
    ):
        done = call_dex("audit", *arguments)
        assert done.returncode == 1
        said = f"Error: {path} holds no signed_tree_head as dex audit head writes one\n"
        assert done.stderr == said

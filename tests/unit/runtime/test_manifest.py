"""A backup may come from anywhere: what its manifest says is checked before it is done."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dexruntime.backup import MANIFEST_NAME, BackupError, back_up, read_manifest
from dexruntime.restore import restore
from dexruntime.storage import PosixStorage
from tests.unit.runtime.test_backup import make_journal

ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1 << 40,
    1 << 70,
    "",
    "x",
    "\n",
    "\ud800",
    [],
    [[]],
    [None],
    {},
    {"x": []},
    "00" * 16 + "\n",
)


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """A small backup with a secret in it."""
    source = PosixStorage(tmp_path / "node" / "journal")
    await make_journal(source, count=20)
    secret = tmp_path / "node" / "node.secret"
    secret.write_bytes(bytes(32))
    back_up(source, tmp_path / "backup", [secret])
    return tmp_path / "backup"


def manifest_of(backup: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((backup / MANIFEST_NAME).read_text())
    return found


def change(backup: Path, **fields: object) -> None:
    (backup / MANIFEST_NAME).write_text(json.dumps(manifest_of(backup) | fields))


@pytest.mark.parametrize(
    "name",
    [
        "../planted.secret",
        "../planted",
        "/tmp/planted.secret",
        "a/b.secret",
        "audit/../../planted.secret",
        "journal",
        "dex.toml",
        ".secret",
        "node.secret\n",
        "",
    ],
)
async def test_a_restore_writes_nowhere_but_in_its_folder(
    backup: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "planted").write_text("planted")
    (tmp_path / "planted.secret").write_text("planted")
    before = sorted(tmp_path.rglob("*"))
    change(backup, files=["node.secret", name])
    with pytest.raises(BackupError, match=r"at `\$\.files\[1\]`") as raised:
        restore(backup, tmp_path / "deep" / "new" / "journal")
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_file_that_the_backup_lacks_is_named(backup: Path, tmp_path: Path) -> None:
    (backup / "node.secret").unlink()
    with pytest.raises(BackupError, match=r"names node\.secret in backup\.json, and does not have"):
        restore(backup, tmp_path / "new" / "journal")
    assert not (tmp_path / "new").exists()


async def test_a_backup_that_replays_to_another_hash_is_refused(
    backup: Path, tmp_path: Path
) -> None:
    found = manifest_of(backup)["event_hash"]
    change(backup, event_hash=("0" if found[0] != "0" else "1") + found[1:])
    with pytest.raises(BackupError, match="replays to another event hash than it had"):
        restore(backup, tmp_path / "new" / "journal")
    assert not (tmp_path / "new" / "journal").exists()


async def test_an_epoch_that_the_journal_has_is_not_begun(backup: Path, tmp_path: Path) -> None:
    change(backup, last_epoch=2)
    with pytest.raises(BackupError, match="epoch 3 is not above 7, which the journal has"):
        restore(backup, tmp_path / "new" / "journal")


async def test_a_field_of_another_type_is_named(backup: Path) -> None:
    for name, value in (("version", "x"), ("last_epoch", []), ("sequence", 0), ("chain", "zz")):
        good = manifest_of(backup)
        change(backup, **{name: value})
        with pytest.raises(BackupError, match=rf"at `\$\.{name}`"):
            read_manifest(backup)
        change(backup, **good)
    change(backup, version=2, files="of another kind")
    with pytest.raises(BackupError, match="is of backup version 2; this build reads up to 1"):
        read_manifest(backup)


def spoiled(chance: random.Random, text: bytes) -> Iterator[bytes]:
    """Manifests with a field of every odd value or none; then with bytes changed and cut off."""
    fields = json.loads(text)
    for name in fields:
        yield json.dumps({other: fields[other] for other in fields if other != name}).encode()
        for value in ODD_VALUES:
            yield json.dumps(fields | {name: value}).encode()
    for value in ODD_VALUES:
        yield json.dumps(value).encode()
    yield b"[" * 100_000
    for _ in range(2_000):
        data = bytearray(text)
        for _ in range(chance.choice((1, 1, 3))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])


async def test_a_spoiled_manifest_is_refused_in_one_line(backup: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"replay: TEST_SEED={seed} pytest {__file__} -k spoiled_manifest")
    path = backup / MANIFEST_NAME
    text = path.read_bytes()
    refused = tried = lines = 0
    for number, data in enumerate(spoiled(random.Random(seed), text)):
        path.write_bytes(data)
        try:
            read_manifest(backup)
            if number % 8 == 0:
                tried += 1
                restore(backup, tmp_path / str(number) / "journal")
        except BackupError as error:
            refused += 1
            lines += len(str(error).splitlines())
    assert lines == refused > 500
    assert tried

"""Reading and applying the patch files of this folder.

A patch file is a header and a unified diff of one or a few lines::

    test: tests/unit/core/test_x.py::test_y
    fails: assert seen == {}
    why: what would go wrong if this were the code

    --- a/core/dexcore/x.py
    +++ b/core/dexcore/x.py
    @@ -1,3 +1,3 @@

`fails` must stand in the error the test ends with (type and message), or in the line of the test
that raised it. Hunks are found by their text, which must occur exactly once, and never by line
number: code that moves keeps its sabotage, code that changes asks for a look at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
FIELDS = ("test", "fails", "why")


class PatchError(Exception):
    """A patch file is malformed, or does not fit the code any more."""


class Hunk(NamedTuple):
    """Lines of one file, and what to put in their place."""

    path: str
    old: str
    new: str


class Sabotage(NamedTuple):
    """One patch file."""

    name: str
    test: str
    fails: str
    why: str
    hunks: tuple[Hunk, ...]


def load_all() -> list[Sabotage]:
    """Every patch file of the folder, by name."""
    return [load(path) for path in sorted(FOLDER.glob("*.patch"))]


def load(path: Path) -> Sabotage:
    """Read one patch file; raises PatchError."""
    head, separator, diff = path.read_text().partition("\n--- a/")
    fields = {}
    for line in head.splitlines():
        name, colon, value = line.partition(": ")
        if line.strip():
            if not colon or name not in FIELDS:
                raise PatchError(f"{path.name}: {line!r} is no header line")
            fields[name] = value.strip()
    if not separator or sorted(fields) != sorted(FIELDS):
        raise PatchError(f"{path.name} needs the fields {', '.join(FIELDS)} and a diff")
    return Sabotage(path.stem, **fields, hunks=tuple(_hunks(path.name, "--- a/" + diff)))


def _hunks(name: str, diff: str) -> list[Hunk]:
    hunks: list[Hunk] = []
    target = ""
    old: list[str] = []
    new: list[str] = []

    def finish() -> None:
        if old or new:
            hunks.append(Hunk(target, "".join(old), "".join(new)))
            old.clear()
            new.clear()

    for line in diff.splitlines(keepends=True):
        if line.startswith("--- a/"):
            finish()
        elif line.startswith("+++ b/"):
            target = line[len("+++ b/") :].strip()
        elif line.startswith("@@"):
            finish()
        elif line[0] in " -+\n":
            text = line[1:] if line[0] != "\n" else line
            if line[0] != "+":
                old.append(text)
            if line[0] != "-":
                new.append(text)
        else:
            raise PatchError(f"{name}: {line!r} is no line of a unified diff")
    finish()
    if not all(hunk.path and hunk.old and hunk.old != hunk.new for hunk in hunks):
        raise PatchError(f"{name}: a hunk has no file, no context or no change")
    return hunks


def patched(sabotage: Sabotage, root: Path) -> dict[str, str]:
    """The changed files below `root`, by path; nothing is written. Raises PatchError."""
    files: dict[str, str] = {}
    for path, old, new in sabotage.hunks:
        if path not in files:
            if not (root / path).is_file():
                raise PatchError(f"{sabotage.name}: {path} does not exist any more")
            files[path] = (root / path).read_text()
        files[path] = _replace_once(sabotage.name, path, files[path], old, new)
    return files


def _replace_once(name: str, path: str, text: str, old: str, new: str) -> str:
    lines, wanted = text.splitlines(keepends=True), old.splitlines(keepends=True)
    size = len(wanted)
    places = [at for at in range(len(lines) - size + 1) if lines[at : at + size] == wanted]
    if len(places) != 1:
        count = len(places)
        raise PatchError(f"{name}: its lines occur {count} times in {path}, not once:\n{old}")
    return "".join([*lines[: places[0]], new, *lines[places[0] + size :]])

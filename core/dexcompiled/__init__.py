"""Which build of the core runs: its sources as they are, or what mypyc made of the same sources.

Theory of operation. `tools/compile_core.py` puts what it makes of COMPILED_MODULES into a folder of
the checkout that is named after a digest of every source which could have a say in it. A package
with compiled modules calls `prefer_compiled` before it imports any of them: this reads the sources
that lie there now, and puts the folder of exactly these, if there is one, in front of the package's
path. A source of which one byte was changed, by whatever means, therefore runs as it is written
until it is compiled again. No time of a file is believed, and nothing has to be deleted.

The environment variable TRIODEX_CORE decides otherwise: `interpreted` never runs what is compiled,
`compiled` ends the import where nothing is.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import MutableSequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "TRIODEX_CORE"
COMPILED: Final = "compiled"
INTERPRETED: Final = "interpreted"

# What an order goes through. mypyc sees all of them at once, so that they call each other directly.
COMPILED_MODULES: Final = (
    "dexcore.accounts",
    "dexcore.admin",
    "dexcore.admission",
    "dexcore.amending",
    "dexcore.book",
    "dexcore.codec",
    "dexcore.commands",
    "dexcore.events",
    "dexcore.exchange",
    "dexcore.expiries",
    "dexcore.expiry",
    "dexcore.funds",
    "dexcore.invariant",
    "dexcore.items",
    "dexcore.ledger",
    "dexcore.market",
    "dexcore.matching",
    "dexcore.nonces",
    "dexcore.orders",
    "dexcore.parking",
    "dexcore.pegs",
    "dexcore.phases",
    "dexcore.plain",
    "dexcore.reasons",
    "dexcore.reserve",
    "dexcore.results",
    "dexcore.said",
    "dexcore.self_trades",
    "dexcore.session_commands",
    "dexcore.sessions",
    "dexcore.steps",
    "dexcore.stops",
    "dexcore.supervision",
    "dexcore.terms",
    "dexcore.triggers",
    "dexcore.waiting",
)
# Packages whose sources shape them: mypyc copies constants of modules it does not compile.
PACKAGES: Final = ("dexcore",)
CORE: Final = Path(__file__).parents[1]
FOLDER: Final = Path(__file__).parents[2] / "build" / "compiled"
# How names of extension modules end: for this version of this Python on this kind of machine.
SUFFIX: Final = str(sysconfig.get_config_var("EXT_SUFFIX"))


class Build(NamedTuple):
    """``kind`` is COMPILED or INTERPRETED, ``why`` says why; ``folder`` is None if interpreted."""

    kind: str
    why: str
    folder: Path | None


def digest_of(core: Path) -> str:
    """Names what compiling the sources under `core` gives: their names and bytes, the Python."""
    digest = blake2b(SUFFIX.encode(), digest_size=12)
    for package in (__name__, *PACKAGES):
        for path in sorted((core / package).rglob("*.py")):
            data = path.read_bytes()
            digest.update(b"%s %d\n" % (path.relative_to(core).as_posix().encode(), len(data)))
            digest.update(data)
    return digest.hexdigest()


def build_of(core: Path, folder: Path, wanted: str) -> Build:
    """The build to run of the sources under `core`, where builds are kept in `folder`.

    Raises:
        ImportError: ``wanted`` is COMPILED and there is none, or it is no kind of build.
    """
    if wanted == INTERPRETED:
        return Build(INTERPRETED, f"{VARIABLE}={INTERPRETED}", None)
    if wanted not in ("", COMPILED):
        raise ImportError(f"{VARIABLE} is {wanted!r}: say {COMPILED} or {INTERPRETED}, or unset it")
    found = folder / digest_of(core)
    if found.is_dir():
        return Build(COMPILED, "mypyc made it of these sources", found)
    why = "the sources changed since" if folder.is_dir() else "never compiled"
    if wanted == COMPILED:
        raise ImportError(f"{VARIABLE}={COMPILED}, but there is no such build ({why}): make dev")
    return Build(INTERPRETED, f"{why}: make dev compiles it", None)


BUILD: Final = build_of(CORE, FOLDER, os.environ.get(VARIABLE, ""))


def prefer_compiled(package: str, path: MutableSequence[str]) -> None:
    """Look for modules of the package among the compiled ones first; called by its ``__init__``."""
    if BUILD.folder is not None:
        path.insert(0, str(BUILD.folder.joinpath(*package.split("."))))

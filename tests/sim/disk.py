"""A disk that keeps no more than its contract says: the storage port in memory, with crashes.

What is modelled, after the contract in dexruntime/storage.py:

- a write lands in a cache; until a datasync returns, a crash keeps any subset of its 512-byte
  sectors, or a prefix that ends inside a sector;
- creations, renames and removals are durable after ``sync_directory``; a crash before it keeps the
  first few of them;
- a datasync that fails drops what it had to write and forgets it: later reads still see it, later
  datasyncs do not write it;
- a full disk, single failures of any verb, and a crash at any numbered step;
- ``pace`` is called before each verb: a simulation lets time pass there.

What is not: a short write (the port's ``write`` writes all or raises), and a disk that writes the
right data at the wrong place or not at all while it says it did. Those change what is durable, so
tests do that to a disk at rest (``spoil``) and expect it to be found, not survived.

``lies`` are sabotage: verbs that return without doing their work, to prove that the tests notice.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from dexruntime.storage import SECTOR_BYTES, Access, StorageInUse


class SimulatedCrash(Exception):
    """The machine has stopped; nothing can be done with the disk before ``restart``."""


@dataclass(eq=False, slots=True)
class _Inode:
    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def keep(self, sector: int, length: int = SECTOR_BYTES) -> None:
        """Make the first ``length`` bytes of a cached sector durable."""
        start = sector * SECTOR_BYTES
        stop = min(start + length, len(self.cached))
        if len(self.durable) < stop:
            self.durable.extend(bytes(stop - len(self.durable)))
        self.durable[start:stop] = self.cached[start:stop]


class SimulatedFile:
    """An open file of a SimulatedDisk; of no use once the process or the machine ended."""

    def __init__(self, disk: SimulatedDisk, inode: _Inode, generation: int) -> None:
        self._disk = disk
        self._inode = inode
        self._generation = generation

    def size(self) -> int:
        self._disk.pace("size")
        with self._disk.entered(self._generation):
            return len(self._inode.cached)

    def read(self, offset: int, length: int) -> bytes:
        self._disk.pace("read")
        with self._disk.entered(self._generation):
            self._disk.fail_if_asked("read")
            return bytes(self._inode.cached[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        inode = self._inode

        def work() -> None:
            stop = offset + len(data)
            self._disk.grow(inode, stop)
            inode.cached[offset:stop] = data
            if data:
                first, last = offset // SECTOR_BYTES, (stop - 1) // SECTOR_BYTES
                inode.dirty.update(range(first, last + 1))

        self._disk.pace("write")
        with self._disk.entered(self._generation):
            self._disk.step("write", work, crash_after=True)

    def preallocate(self, size_bytes: int) -> None:
        self._disk.pace("preallocate")
        with self._disk.entered(self._generation):
            work = lambda: self._disk.grow(self._inode, size_bytes)  # noqa: E731
            self._disk.step("preallocate", work, crash_after=True)

    def datasync(self) -> None:
        inode = self._inode

        def work() -> None:
            for sector in inode.dirty:
                inode.keep(sector)
            inode.durable.extend(bytes(len(inode.cached) - len(inode.durable)))
            inode.dirty.clear()

        self._disk.pace("datasync")
        with self._disk.entered(self._generation):
            try:
                self._disk.step("datasync", work)
            except OSError:
                inode.dirty.clear()
                raise

    def close(self) -> None:
        """Closing syncs nothing."""


class _Lock:
    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk

    def close(self) -> None:
        self._disk.locked = False


class SimulatedDisk:
    """Implements dexruntime.storage.Storage. All choices come from ``chance``.

    ``crash_at`` is the number of the changing step at which the machine stops, counted from 1 and
    never again after a restart. ``lies`` names verbs that do nothing, "datasync" or
    "sync_directory", after step ``lies_after``.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        capacity_bytes: int = 1 << 30,
        crash_at: int = 0,
        lies: Collection[str] = (),
        lies_after: int = 0,
        pace: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._chance = chance
        self.pace = pace
        self._lies = frozenset(lies)
        self._lies_after = lies_after
        self._mutex = threading.RLock()
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._pending: list[dict[str, _Inode]] = []
        self._faults: list[tuple[str, int]] = []
        self._generation = 0
        self._dead = False
        self.capacity_bytes = capacity_bytes
        self.crash_at = crash_at
        self.locked = False
        self.steps = 0
        self.calls: list[str] = []

    # --- the storage port

    def list_names(self) -> list[str]:
        self.pace("list")
        with self.entered():
            return sorted(self._names)

    def open(self, name: str, access: Access = "read") -> SimulatedFile:
        self.pace("open")
        with self.entered():
            if access == "create":
                if name in self._names:
                    raise FileExistsError(errno.EEXIST, "exists", name)
                self.step("create", lambda: self._change({**self._names, name: _Inode()}))
            if name not in self._names:
                raise FileNotFoundError(errno.ENOENT, "no such file", name)
            return SimulatedFile(self, self._names[name], self._generation)

    def rename(self, old: str, new: str) -> None:
        self.pace("rename")
        with self.entered():
            names = {name: inode for name, inode in self._names.items() if name != old}
            names[new] = self._names[old]
            self.step("rename", lambda: self._change(names), crash_after=True)

    def remove(self, name: str) -> None:
        self.pace("remove")
        with self.entered():
            names = {other: inode for other, inode in self._names.items() if other != name}
            self.step("remove", lambda: self._change(names), crash_after=True)

    def sync_directory(self) -> None:
        def work() -> None:
            self._durable_names = dict(self._names)
            self._pending.clear()

        self.pace("sync_directory")
        with self.entered():
            self.step("sync_directory", work)

    def lock(self) -> _Lock:
        with self.entered():
            if self.locked:
                raise StorageInUse("simulated disk", 1)
            self.locked = True
            return _Lock(self)

    # --- what a test does to it

    def fail_once(self, verb: str, error_number: int) -> None:
        """Let the next call of a verb (write, datasync, ...) fail with this errno."""
        self._faults.append((verb, error_number))

    def forget_faults(self) -> None:
        """Take back the failures that were asked for and have not happened."""
        self._faults.clear()

    def used_bytes(self) -> int:
        """Length of all files."""
        return sum(len(inode.cached) for inode in self._names.values())

    def contents(self, name: str) -> bytes:
        """What a reader sees in a file."""
        return bytes(self._names[name].cached)

    def put(self, name: str, data: bytes) -> None:
        """Place a durable file, as another process would."""
        inode = _Inode(bytearray(data), bytearray(data))
        self._names[name] = self._durable_names[name] = inode

    def kill(self) -> None:
        """End the process: open files and the lock go, the page cache stays."""
        with self._mutex:
            self._generation += 1
            self.locked = False

    def crash(self) -> None:
        """Stop the machine; ``restart`` makes the disk usable again."""
        with self._mutex:
            self._dead = True

    def restart(self) -> None:
        """Come back with what a crash leaves: the durable, and a random part of the rest."""
        with self._mutex:
            kept = self._chance.randint(0, len(self._pending))
            self._names = dict(self._pending[kept - 1] if kept else self._durable_names)
            for inode in {id(inode): inode for inode in self._names.values()}.values():
                self._lose(inode)
            self._durable_names = dict(self._names)
            self._pending.clear()
            self._generation += 1
            self._dead = self.locked = False
            self.crash_at = 0

    # --- inside

    def entered(self, generation: int | None = None) -> AbstractContextManager[object]:
        """The mutex, for one verb of a live process."""
        if self._dead or (generation is not None and generation != self._generation):
            raise SimulatedCrash
        return self._mutex

    def step(self, verb: str, work: Callable[[], None], *, crash_after: bool = False) -> None:
        """Do one changing verb, or fail, or crash in it."""
        self.steps += 1
        self.calls.append(verb)
        self.fail_if_asked(verb)
        crashes = self.steps == self.crash_at
        lying = verb in self._lies and self.steps > self._lies_after
        if not lying and (crash_after or not crashes):
            work()
        if crashes:
            self._dead = True
            raise SimulatedCrash

    def fail_if_asked(self, verb: str) -> None:
        """Raise the failure that a test has asked for, once."""
        for fault in self._faults:
            if fault[0] == verb:
                self._faults.remove(fault)
                raise OSError(fault[1], "injected", verb)

    def grow(self, inode: _Inode, size_bytes: int) -> None:
        """Extend a file with zeros, or find the disk full."""
        more = size_bytes - len(inode.cached)
        if more <= 0:
            return
        if self.used_bytes() + more > self.capacity_bytes:
            raise OSError(errno.ENOSPC, "no space left on device")
        inode.cached.extend(bytes(more))

    def _change(self, names: dict[str, _Inode]) -> None:
        self._names = names
        self._pending.append(dict(names))

    def _lose(self, inode: _Inode) -> None:
        dirty = sorted(inode.dirty)
        if self._chance.random() < 0.5:
            inode.durable.extend(bytes(max(0, len(inode.cached) - len(inode.durable))))
        size = len(inode.durable)
        if dirty and self._chance.random() < 0.3:
            cut = self._chance.randrange(len(dirty))
            for sector in dirty[:cut]:
                inode.keep(sector)
            inode.keep(dirty[cut], self._chance.randint(0, SECTOR_BYTES))
        else:
            share = self._chance.choice((0.0, 0.5, 0.9, 1.0))
            for sector in dirty:
                if self._chance.random() < share:
                    inode.keep(sector)
        del inode.durable[size:]
        inode.cached = bytearray(inode.durable)
        inode.dirty.clear()

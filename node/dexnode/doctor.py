"""Checks of a machine before a node runs on it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

import trio

import dexcompiled

PORTS: Final = {"gRPC": 7400, "Flight": 7401, "metrics": 7402}
LIBRARIES: Final = ("trio", "h2", "grpcio", "protobuf", "pynacl", "pyarrow", "numpy")
SYNC_PROBES: Final = 20
SYNC_NS_SLOW: Final = 20_000_000
FREE_BYTES_MIN: Final = 1 << 30
FILES_MIN: Final = 4_096
MEMORY_FILESYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


class Finding(NamedTuple):
    """One check: ``verdict`` is yes, no, or look (works, but read the text)."""

    check: str
    verdict: str
    text: str


async def examine(data_dir: Path) -> list[Finding]:
    """Run every check."""
    findings = [_python(), core_build(), *(_library(name) for name in LIBRARIES), _files()]
    findings += await trio.to_thread.run_sync(_disk, data_dir)
    findings += [_port(name, port) for name, port in PORTS.items()]
    return findings


def _python() -> Finding:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    text = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("python", "yes" if supported else "no", text)


def core_build() -> Finding:
    """Whether the compiled core runs, or its sources, some times slower."""
    build = dexcompiled.BUILD
    return Finding("core", "yes" if build.folder else "look", f"{build.kind}: {build.why}")


def _library(name: str) -> Finding:
    try:
        return Finding(name, "yes", version(name))
    except PackageNotFoundError:
        return Finding(name, "no", "not installed")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    verdict = "yes" if soft >= FILES_MIN else "look"
    return Finding("open files", verdict, f"{soft} (may be raised to {hard})")


def _disk(data_dir: Path) -> list[Finding]:
    """Free space, kind of filesystem, and how long an fdatasync takes there."""
    folder = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    space = Finding(
        "disk space", "yes" if free >= FREE_BYTES_MIN else "no", f"{free >> 20} MiB in {folder}"
    )
    kind = filesystem_of(folder)
    durable = Finding(
        "filesystem",
        "no" if kind in MEMORY_FILESYSTEMS else "yes",
        f"{kind}: nothing here survives a restart" if kind in MEMORY_FILESYSTEMS else kind,
    )
    median_ns = _sync_ns(folder)
    sync = Finding(
        "fdatasync",
        "yes" if median_ns < SYNC_NS_SLOW else "look",
        f"median {median_ns // 1000} us of {SYNC_PROBES}",
    )
    return [space, durable, sync]


def filesystem_of(folder: Path) -> str:
    """Type of the filesystem a folder is on, as the kernel names it; "unknown" elsewhere."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    best, kind = "", "unknown"
    path = str(folder.resolve())
    for line in mounts.read_text().splitlines():
        point, filesystem = line.split()[1:3]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, filesystem
    return kind


def _sync_ns(folder: Path) -> int:
    with tempfile.TemporaryFile(dir=folder) as file:
        took = []
        for _ in range(SYNC_PROBES):
            file.write(bytes(512))
            file.flush()
            start = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter_ns() - start)
    return int(statistics.median(took))


def _port(name: str, port: int) -> Finding:
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding(f"{name} port", "look", f"{port}: {error.strerror} (a node may run)")
    return Finding(f"{name} port", "yes", f"{port} is free")

"""Values that must not be seen, and the one secret of a node that the others derive from."""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final, final

MASK: Final = "********"
NODE_SECRET_BYTES: Final = 32
NODE_SECRET_FILE: Final = "node.secret"  # noqa: S105  # a file's name


@final
class Secret:
    """A string that prints as stars; only `reveal` shows it, and is easily searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return secrets.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is neither copied to disk nor to another process")


def load_node_secret(data_dir: Path) -> bytes:
    """The node's own 32 secret bytes, made on the first start and kept in `data_dir`, owner only.

    Page tokens and Flight tickets are sealed with keys derived from it, so they outlive a restart
    and end when the file is deleted. Raises ValueError for a file of another size and OSError when
    it cannot be read or written.
    """
    path = data_dir / NODE_SECRET_FILE
    try:
        # Exclusive, with its mode from the start: no moment at which others may read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        value = path.read_bytes()
        if len(value) != NODE_SECRET_BYTES:
            raise ValueError(
                f"{path} holds {len(value)} bytes, not {NODE_SECRET_BYTES}; without it the next "
                "start makes a new one"
            ) from None
        return value
    value = secrets.token_bytes(NODE_SECRET_BYTES)
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    return value


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose (keyed BLAKE2b, RFC 7693): who learns one learns no other."""
    return blake2b(purpose.encode("ascii"), digest_size=32, key=secret).digest()

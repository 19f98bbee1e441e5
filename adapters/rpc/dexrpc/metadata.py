"""Call metadata: key-value pairs beside the messages, and their HTTP/2 header form.

Keys are lower-case ASCII. A key that ends in `-bin` has bytes as its value, base64 on the wire
(padding optional, several values may be joined by commas); every other value is printable ASCII.
Keys that start with `grpc-` or `:` and the HTTP ones belong to the protocol and are hidden from
handlers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import final

Metadata = Sequence[tuple[str, str | bytes]]
Headers = Sequence[tuple[bytes, bytes]]

_RESERVED = frozenset((b"content-type", b"te", b"host"))
_KEY = re.compile(r"[0-9a-z_.\-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


@final
class MetadataView:
    """Read-only metadata of one call. Decoded when first asked for: most calls never look."""

    __slots__ = ("_headers", "_items")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._items: list[tuple[str, str | bytes]] | None = None

    @classmethod
    def decoded(cls, items: Iterable[tuple[str, str | bytes]]) -> MetadataView:
        """A view of pairs that another library has already decoded."""
        view = cls(())
        view._items = list(items)
        return view

    def items(self) -> list[tuple[str, str | bytes]]:
        """All pairs in arrival order."""
        if self._items is None:
            self._items = list(_decode(self._headers))
        return self._items

    def get(self, key: str) -> str | bytes | None:
        """The first value of `key` (lower case), or None."""
        for name, value in self.items():
            if name == key:
                return value
        return None

    def get_all(self, key: str) -> list[str | bytes]:
        """Every value of `key`, in arrival order."""
        return [value for name, value in self.items() if name == key]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.items()])

    def __contains__(self, key: object) -> bool:
        return any(name == key for name, _ in self.items())

    def __len__(self) -> int:
        return len(self.items())

    def __repr__(self) -> str:
        # Values may be credentials: show the keys only.
        return f"MetadataView({[name for name, _ in self.items()]})"


def _decode(headers: Headers) -> Iterator[tuple[str, str | bytes]]:
    for name, value in headers:
        if name in _RESERVED or name.startswith((b"grpc-", b":")):
            continue
        key = name.decode("ascii", "replace")
        if not key.endswith("-bin"):
            yield key, value.decode("ascii", "replace")
            continue
        for part in value.split(b","):
            decoded = _decode_base64(part.strip())
            if decoded is not None:
                yield key, decoded


def _decode_base64(value: bytes) -> bytes | None:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return None


def encode_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Header form of metadata a handler sends.

    Raises ValueError for a key or value that may not travel: that is a fault of the handler, and
    letting it through would let a value forge headers.
    """
    headers: list[tuple[bytes, bytes]] = []
    for key, value in metadata:
        if not _KEY.fullmatch(key) or key.startswith("grpc-"):
            raise ValueError(f"metadata key {key!r} may not be sent")
        if key.endswith("-bin"):
            if isinstance(value, str):
                raise ValueError(f"metadata {key!r} takes bytes")
            encoded = base64.b64encode(value).rstrip(b"=")
        else:
            text = value.decode("ascii") if isinstance(value, bytes) else value
            if not _VALUE.fullmatch(text):
                raise ValueError(f"metadata {key!r} holds a character that may not be sent")
            encoded = text.encode("ascii")
        headers.append((key.encode("ascii"), encoded))
    return headers

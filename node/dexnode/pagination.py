"""Page tokens (AIP-158): where a list goes on, sealed so that no client can make or move one.

A token is base64url of a keyed BLAKE2b (RFC 7693) and the cursor. The code covers the request
without its paging fields, so a token continues the query it came from and no other; `page_size` may
change from page to page.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import blake2b
from typing import Final, Protocol, TypeVar, final

import msgspec

from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse

MAC_BYTES: Final = 16
TOKEN_CHARACTERS_MAX: Final = 256
KEY_BYTES: Final = 32

_PERSON: Final = b"triodex.page.v1"

CursorT = TypeVar("CursorT", bound=int | str | tuple[int | str, ...])


class PagedRequest(Protocol):
    """A request with `page_size` and `page_token`."""

    page_size: int
    page_token: str


@final
class PageTokens:
    """Seals and opens page tokens with one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """`key` is 32 secret bytes; tokens live as long as it does."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the page token key has {len(key)} bytes, not {KEY_BYTES}")
        self._key = key

    def seal(self, request: PagedRequest, cursor: int | str | tuple[int | str, ...]) -> str:
        """The token of the page that starts at `cursor` of the query `request` asks. Raises
        ValueError for a cursor that does not fit the contract's 256 characters."""
        payload = msgspec.msgpack.encode(cursor)
        token = base64.urlsafe_b64encode(self._mac(request, payload) + payload)
        text = token.rstrip(b"=").decode("ascii")
        if len(text) > TOKEN_CHARACTERS_MAX:
            raise ValueError(f"a cursor of {len(payload)} bytes does not fit a page token")
        return text

    def open(self, request: PagedRequest, cursor_type: type[CursorT]) -> CursorT | None:
        """The cursor of `request.page_token`; None when it is empty, for the first page.

        Raises PAGE_TOKEN_INVALID for a token this key did not seal for this query.
        """
        token = request.page_token
        if not token:
            return None
        try:
            sealed = base64.b64decode(
                token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            sealed = b""
        payload = sealed[MAC_BYTES:]
        if not payload or not hmac.compare_digest(sealed[:MAC_BYTES], self._mac(request, payload)):
            raise refuse(errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID, field="page_token")
        return msgspec.msgpack.decode(payload, type=cursor_type)

    def _mac(self, request: PagedRequest, payload: bytes) -> bytes:
        query = type(request)()
        query.CopyFrom(request)  # type: ignore[attr-defined]  # every PagedRequest is a Message
        query.ClearField("page_size")  # type: ignore[attr-defined]
        query.ClearField("page_token")  # type: ignore[attr-defined]
        name = query.DESCRIPTOR.full_name.encode()  # type: ignore[attr-defined]
        fields = query.SerializeToString(deterministic=True)  # type: ignore[attr-defined]
        mac = blake2b(digest_size=MAC_BYTES, key=self._key, person=_PERSON)
        # Lengths first, or two different queries could be spelled by the same bytes.
        mac.update(len(name).to_bytes(4, "big") + len(fields).to_bytes(4, "big"))
        mac.update(name)
        mac.update(fields)
        mac.update(payload)
        return mac.digest()

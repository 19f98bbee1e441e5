"""Access tokens (dex.auth.v1): who signed this call, and until when that holds.

A token is checked once, 57 us of Ed25519, and then remembered by its exact text until it expires.
Only good tokens are remembered: bad ones cannot push them out.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from typing import Final, NamedTuple, final

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from dex.auth.v1 import auth_pb2
from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse
from dexnode.validation import Validator
from dexrpc import RpcError

SIGNING_PREFIX: Final = b"triodex.access.v1\0"
SCHEME: Final = "dex "
TOKEN_CHARACTERS_MAX: Final = 1024
LIFETIME_NS_MAX: Final = 3600 * 10**9
CACHED_TOKENS_MAX: Final = 4096

_NS_PER_SECOND: Final = 10**9
_RULES: Final = Validator([auth_pb2.DESCRIPTOR])


class VerifiedToken(NamedTuple):
    """What a good token shows."""

    public_key: bytes
    expire_time_ns: int


def _invalid(message: str, field: str | None = None) -> RpcError:
    return refuse(errors_pb2.ERROR_REASON_TOKEN_INVALID, message, field=field)


def _time_ns(time_: Timestamp) -> int:
    if not 0 <= time_.nanos < _NS_PER_SECOND:
        raise _invalid("The access token's expire_time is no time.", "expire_time")
    return time_.seconds * _NS_PER_SECOND + time_.nanos


@final
class TokenVerifier:
    """Reads and verifies `authorization: Dex ...` for one network. For one thread at a time."""

    __slots__ = ("_clock_ns", "_known", "_network_id")

    def __init__(self, network_id: str, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._network_id = network_id
        self._clock_ns = clock_ns
        self._known: dict[str, VerifiedToken] = {}

    def verify(self, authorization: str) -> VerifiedToken:
        """The signer of the metadata value. Raises TOKEN_INVALID or TOKEN_EXPIRED."""
        now_ns = self._clock_ns()
        known = self._known.get(authorization)
        if known is None:
            known = self._read(authorization)
            self._check_time(known, now_ns)
            self._remember(authorization, known, now_ns)
        elif known.expire_time_ns <= now_ns:
            del self._known[authorization]
            raise refuse(errors_pb2.ERROR_REASON_TOKEN_EXPIRED)
        return known

    def _read(self, authorization: str) -> VerifiedToken:
        token = _decode(authorization)
        grant = auth_pb2.AccessGrant()
        try:
            VerifyKey(token.public_key).verify(SIGNING_PREFIX + token.grant, token.signature)
            grant.ParseFromString(token.grant)
        except (BadSignatureError, ValueError):
            raise _invalid("The access token's signature does not verify.", "signature") from None
        except DecodeError:
            raise _invalid("The access token's grant is not an AccessGrant.", "grant") from None
        violation = _RULES.violation(grant)
        if violation is not None:
            raise _invalid(f"{violation.field} {violation.message}", violation.field)
        if grant.network_id != self._network_id:
            raise _invalid("The access token is for another network.", "network_id")
        return VerifiedToken(token.public_key, _time_ns(grant.expire_time))

    def _check_time(self, token: VerifiedToken, now_ns: int) -> None:
        if token.expire_time_ns <= now_ns:
            raise refuse(errors_pb2.ERROR_REASON_TOKEN_EXPIRED)
        if token.expire_time_ns > now_ns + LIFETIME_NS_MAX:
            raise _invalid("The access token expires more than one hour ahead.", "expire_time")

    def _remember(self, authorization: str, token: VerifiedToken, now_ns: int) -> None:
        if len(self._known) >= CACHED_TOKENS_MAX:
            self._known = {
                text: known for text, known in self._known.items() if known.expire_time_ns > now_ns
            }
            if len(self._known) >= CACHED_TOKENS_MAX:
                # All are alive: the oldest goes and is verified again when it comes back.
                del self._known[next(iter(self._known))]
        self._known[authorization] = token


def _decode(authorization: str) -> auth_pb2.AccessToken:
    if authorization[: len(SCHEME)].lower() != SCHEME:
        raise _invalid("The authorization scheme is not Dex.")
    text = authorization[len(SCHEME) :]
    if len(text) > TOKEN_CHARACTERS_MAX:
        raise _invalid("The access token is too long.")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = auth_pb2.AccessToken.FromString(raw)
    except (binascii.Error, ValueError, DecodeError):
        raise _invalid("The access token is not base64url of an AccessToken.") from None
    violation = _RULES.violation(token)
    if violation is not None:
        raise _invalid(f"{violation.field} {violation.message}", violation.field)
    return token

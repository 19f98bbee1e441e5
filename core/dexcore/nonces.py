"""Answers to signed payloads by their nonce, so that each payload counts once.

Hundreds of thousands are remembered at a time. Each is one tuple without tuples in it: the garbage
collector lets go of what holds plain values alone, and would else walk through all of them again
and again, in the longest pauses that a node had.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, final

from dexcore.limits import EXPIRY_AHEAD_NS_MAX
from dexcore.reasons import Reason, Refused
from dexcore.results import Fill, Result

SECOND_NS: Final = 10**9


class Answered(NamedTuple):
    """What a signed command was answered; kept until the payload expires."""

    digest: bytes
    expire_time_ns: int
    sequence: int
    time_ns: int
    reason: int
    field: str
    key: int
    items: tuple[Result, ...]
    amounts: tuple[int, ...] = ()


AnsweredRow = tuple[Any, ...]
"""The same in one piece: what stands before ``items``, the count of amounts and the amounts; then
of each item its values, but for its fills their count and, at the end, four values of each."""

_EXPIRE_TIME_NS: Final = Answered._fields.index("expire_time_ns")
_HEAD: Final = Answered._fields.index("items")
_FILL_VALUES: Final = 4


def row_of(
    digest: bytes,
    expire_time_ns: int,
    sequence: int,
    time_ns: int,
    reason: int,
    field: str,
    key: int,
    items: Iterable[Result],
    amounts: tuple[int, ...],
) -> AnsweredRow:
    """The values of an Answered, in one piece."""
    values: list[Any] = [digest, expire_time_ns, sequence, time_ns, reason, field, key]
    values.append(len(amounts))
    if amounts:
        values.extend(amounts)
    for order_key, client_id, status, filled, remaining, fills, refusal, where in items:
        values.extend((order_key, client_id, status, filled, remaining, refusal, where, len(fills)))
        for fill in fills:
            values.extend(fill)
    return tuple(values)


def answered(row: AnsweredRow) -> Answered:
    """A row with names."""
    at = _HEAD + 1 + row[_HEAD]
    amounts = row[_HEAD + 1 : at]
    items: list[Result] = []
    while at < len(row):
        order_key, client_id, status, filled, remaining, refusal, where, count = row[at : at + 8]
        at += 8
        fills: list[Fill] = []
        for _ in range(count):
            fills.append(row[at : at + _FILL_VALUES])
            at += _FILL_VALUES
        item = (order_key, client_id, status, filled, remaining, tuple(fills), refusal, where)
        items.append(item)
    return Answered._make((*row[:_HEAD], tuple(items), amounts))


@final
class NonceTable:
    """First answers by (account, nonce), forgotten when the payload expires.

    A payload is refused once it has expired, so its nonce need not be remembered
    any longer. Entries are dropped in whole seconds of expiry as time goes by.
    """

    __slots__ = ("expiring", "oldest_s", "rows")

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], AnsweredRow] = {}
        self.expiring: dict[int, list[tuple[int, int]]] = {}
        self.oldest_s = 0

    def first_answer(
        self, account_key: int, nonce: int, digest: bytes, expire_time_ns: int, time_ns: int
    ) -> Answered | None:
        """The answer the same payload got before; None when it is new.

        Raises:
            Refused: it expired, expires too far ahead, or reuses a nonce.
        """
        if expire_time_ns <= time_ns:
            raise Refused(Reason.PAYLOAD_EXPIRED, "expire_time")
        if expire_time_ns > time_ns + EXPIRY_AHEAD_NS_MAX:
            raise Refused(Reason.EXPIRY_TOO_FAR, "expire_time")
        row = self.rows.get((account_key, nonce))
        if row is None or row[_EXPIRE_TIME_NS] <= time_ns:
            return None
        if row[0] != digest:
            raise Refused(Reason.NONCE_REUSED, "nonce")
        return answered(row)

    def is_answered(self, account_key: int, nonce: int, digest: bytes) -> bool:
        """Whether this payload has had an answer that is still remembered."""
        row = self.rows.get((account_key, nonce))
        return row is not None and row[0] == digest

    def remember(self, account_key: int, nonce: int, row: AnsweredRow) -> None:
        """Keep the first answer until its payload expires."""
        key = (account_key, nonce)
        self.rows[key] = row
        expire_time_ns: int = row[_EXPIRE_TIME_NS]
        second = expire_time_ns // SECOND_NS
        bucket = self.expiring.get(second)
        if bucket is None:
            self.expiring[second] = [key]
        else:
            bucket.append(key)

    def forget_expired(self, time_ns: int) -> None:
        """Drop what expired before the whole second of ``time_ns``."""
        now_s = time_ns // SECOND_NS
        if now_s <= self.oldest_s:
            return
        self.oldest_s = now_s
        for second in [s for s in self.expiring if s < now_s]:
            for key in self.expiring.pop(second):
                row = self.rows.get(key)
                # The nonce may have been used again after its first payload expired.
                if row is not None and row[_EXPIRE_TIME_NS] // SECOND_NS == second:
                    del self.rows[key]

"""The naive twin's keys: what each may do, until when, and who may end it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.reference.exchange_rules import No

READ, TRADE, MOVE, MANAGE = 1, 2, 4, 8
EVERYTHING = {READ, TRADE, MOVE, MANAGE}
FOR_EVER = float("inf")


@dataclass(eq=False)
class AKey:
    """A key of an account."""

    owner: int
    rights: set[int]
    ends_ns: float = FOR_EVER
    revoked: bool = False

    @property
    def does_everything(self) -> bool:
        return self.rights == EVERYTHING and self.ends_ns == FOR_EVER and not self.revoked


class KeyRing:
    """Every key there ever was."""

    def __init__(self) -> None:
        self.all: dict[bytes, AKey] = {}

    def of(self, owner: int, public_key: bytes) -> AKey:
        """The key that signed, if it is or was one of its owner's."""
        if all(each.owner != owner for each in self.all.values()):
            raise No("UNKNOWN_ACCOUNT", "account_id")
        found = self.all.get(public_key)
        if found is None or found.owner != owner:
            raise No("UNKNOWN_KEY", "public_key")
        return found

    @staticmethod
    def judge(signer: AKey, right: int, time_ns: int) -> None:
        """Whether it may do this now."""
        if signer.revoked:
            raise No("KEY_REVOKED", "public_key")
        if time_ns >= signer.ends_ns:
            raise No("KEY_EXPIRED", "public_key")
        if right not in signer.rights:
            raise No("KEY_LACKS_SCOPE", "public_key")

    def grant(
        self,
        signer: AKey | None,
        time_ns: int,
        of_signer: bool,
        scopes: int,
        key_expire_time_ns: int,
        label: str,
    ) -> tuple[set[int], float]:
        """What a new key may do and until when; the first of an account may do everything."""
        rights = {right for right in EVERYTHING if scopes & right}
        if scopes != sum(rights):
            raise No("FIELD_INVALID", "register_key.scopes")
        if key_expire_time_ns and key_expire_time_ns <= time_ns:
            raise No("FIELD_INVALID", "register_key.expire_time")
        # Controls, line and paragraph separators, and what turns the direction of text.
        odd = re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", label)
        if len(label) > 64 or odd:
            raise No("FIELD_INVALID", "register_key.label")
        if signer is not None:
            granted = rights or set(signer.rights), key_expire_time_ns or signer.ends_ns
            self._below(signer, *granted, "register_key")
            return granted
        if not of_signer:
            raise No("UNKNOWN_KEY", "public_key")
        if rights and rights != EVERYTHING:
            raise No("FIELD_INVALID", "register_key.scopes")
        if key_expire_time_ns:
            raise No("FIELD_INVALID", "register_key.expire_time")
        return set(EVERYTHING), FOR_EVER

    def add(self, public_key: bytes, key: AKey) -> None:
        """One key more, that nobody had before."""
        if public_key in self.all:
            raise No("KEY_ALREADY_REGISTERED", "public_key")
        own = [each for each in self.all.values() if each.owner == key.owner]
        if sum(not each.revoked for each in own) >= 16 or len(own) >= 256:
            raise No("TOO_MANY_KEYS", "public_key")
        self.all[public_key] = key

    def revoke(self, signer: AKey, public_key: bytes) -> None:
        """End a key of the signer's account."""
        where = "revoke_key.public_key"
        ended = self.all.get(public_key)
        if ended is None or ended.owner != signer.owner:
            raise No("UNKNOWN_KEY", where)
        if ended.revoked:
            return
        self._below(signer, ended.rights, ended.ends_ns, where)
        others = [
            each for each in self.all.values() if each is not ended and each.owner == signer.owner
        ]
        if not any(each.does_everything for each in others):
            raise No("LAST_FULL_KEY", where)
        ended.revoked = True

    @staticmethod
    def _below(signer: AKey, rights: set[int], ends_ns: float, where: str) -> None:
        if rights - signer.rights or ends_ns > signer.ends_ns:
            raise No("KEY_LACKS_SCOPE", where)

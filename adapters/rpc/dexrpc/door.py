"""Who floods, is calmed, and comes straight back waits at the door.

Theory of operation
-------------------
A connection has a budget for each kind of frame that asks for work and carries no call, and is
ended when it has used one up. A peer that comes back at once has all budgets anew. So floods are
charged to the address as well, which owes for each until it is forgiven. While an address owes too
much, its next connections are held: accepted, and neither read nor answered. That costs a socket
and a sleeping task, of which there are so many for an address; what comes beyond is closed.

A peer that has left by then is not served at all, so a flooder that does not wait leaves nothing.

Honest clients may share the address. Those that are connected are never touched for what another
connection did, and new ones get in as soon as enough is forgiven, all that are held at once: each
that floods owes again, so floods of one address are as rare in the long run as they are forgiven.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Final, final

import trio

# Networks that owe something; who floods from more of them is forgotten by the oldest.
NETWORKS_MAX: Final = 4_096
Network = str | bytes


@final
class Door:
    """What the peers' addresses owe for floods, and who waits for it."""

    __slots__ = ("_floods_max", "_forgiven_after", "_held", "_held_max", "_owed", "_shut")

    def __init__(self, floods_max: int, forgiven_after: float, held_max: int) -> None:
        """See ServerConfig: `max_floods_per_address`, `flood_forgiven_after`,
        `max_held_per_address`."""
        self._floods_max = floods_max
        self._forgiven_after = forgiven_after
        self._held_max = held_max
        self._held: Counter[Network] = Counter()
        self._owed: dict[Network, tuple[float, float]] = {}
        self._shut = trio.Event()

    @property
    def network_count(self) -> int:
        """Networks that are remembered."""
        return len(self._owed)

    def charge(self, host: str, share: float) -> bool:
        """A connection of that host was a flood, or a share of one. Whether its next connections
        wait since then, and did not before."""
        network, now = _network_of(host), trio.current_time()
        before = self._owed_by(network, now)
        # Bounded, so that who stops is let in again before clients give up connecting.
        owed = min(before + share, 2.0 * self._floods_max)
        self._owed.pop(network, None)
        if len(self._owed) >= NETWORKS_MAX:
            del self._owed[next(iter(self._owed))]  # charged longest ago
        self._owed[network] = (owed, now)
        return before <= self._floods_max < owed

    def is_full(self, host: str) -> bool:
        """Whether so many of the host wait that one more may not."""
        return bool(self._held) and self._held[_network_of(host)] >= self._held_max

    async def wait(self, host: str) -> bool:
        """Return when the host's next connection may come in; False when it may not any more."""
        if not self._owed:
            return True
        network = _network_of(host)
        self._held[network] += 1
        try:
            while (wait_seconds := self._wait_seconds(network)) and not self._shut.is_set():
                with trio.move_on_after(wait_seconds):
                    await self._shut.wait()
        finally:
            self._held[network] -= 1
            if not self._held[network]:
                del self._held[network]
        return not self._shut.is_set()

    def shut(self) -> None:
        """Send away who waits: the server drains."""
        self._shut.set()

    def _wait_seconds(self, network: Network) -> float:
        owed = self._owed_by(network, trio.current_time())
        return max(0.0, owed - self._floods_max) * self._forgiven_after

    def _owed_by(self, network: Network, now: float) -> float:
        owed, charged_at = self._owed.get(network, (0.0, now))
        return max(0.0, owed - (now - charged_at) / self._forgiven_after)


def _network_of(host: str) -> Network:
    """Who an address belongs to: of IPv6 nobody gets less than a network of 64 bits."""
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8]

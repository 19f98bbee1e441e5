"""What docs/reference/order-semantics.md says and the core does not carry out yet.

Random commands leave it out. Take a name out when its part of the core is there; this file goes
when the set is empty.
"""

from __future__ import annotations

from dexcore.commands import Command
from dexcore.items import OCO, Item, Terms

NOT_YET = {"auctions", "pairs", "pegged", "stops"}


def is_here(item: Item, terms: Terms) -> bool:
    """Whether the core carries this item out."""
    _, _, kind, tif, flags, *_ = item
    _, _, trigger, trail, offset, _, _, peg = terms
    needs = {
        "pairs": flags & OCO,
        "stops": kind in (3, 4, 5) or trigger or trail,
        "pegged": kind == 6 or peg or offset,
        "auctions": tif in (6, 7),
    }
    return not any(need and name in NOT_YET for name, need in needs.items())


def is_carried_out(command: Command) -> bool:
    """Whether the core carries this command out, its items aside."""
    name = type(command).__name__
    needs = {
        "auctions": name == "SetMarketStatus" and 4 <= getattr(command, "status", 0) <= 6,
    }
    return not any(need and name in NOT_YET for name, need in needs.items())

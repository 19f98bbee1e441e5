"""What happens by time alone: orders end, and dead man's switches cancel.

Theory of operation: nothing here looks at a clock. Orders and switches stand in the order of their
times, and the first ClockTick at or after a time does what is due; the node journals one when
:attr:`dexcore.exchange.Exchange.next_due_ns` comes. Between its time and that tick an order still
trades, so that a replay ends it between the same two commands.
"""

from __future__ import annotations

from typing import Final, final

from sortedcontainers import SortedDict

from dexcore.accounts import Account
from dexcore.amending import cancel_all, end
from dexcore.commands import CAUSE_DEAD_MANS_SWITCH
from dexcore.events import DeadMansSwitchSet, MassCancelled
from dexcore.expiries import DAY_NS
from dexcore.invariant import check
from dexcore.items import NO_MARKET
from dexcore.matching import Matcher
from dexcore.reasons import Reason, Refused
from dexcore.results import OrderStatus
from dexcore.steps import end_step

TIMEOUT_NS_MIN: Final = 10**9
TIMEOUT_NS_MAX: Final = DAY_NS


@final
class Timekeeper:
    """Does what a tick makes due; holds the armed switches."""

    __slots__ = ("_deadlines", "_matcher", "_switches")

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        # Account key -> deadline, and (deadline, account key) -> account in that order.
        self._deadlines: dict[int, int] = {}
        self._switches: SortedDict[tuple[int, int], Account] = SortedDict()

    @property
    def switches(self) -> list[tuple[int, int]]:
        """(deadline, account key) of every armed switch, the next one first."""
        return list(self._switches)

    def deadline_ns(self, account_key: int) -> int:
        """When the account's switch cancels; zero while it is not armed."""
        return self._deadlines.get(account_key, 0)

    def next_ns(self) -> int | None:
        """When something is due; None when nothing ever is."""
        expiry_ns = self._matcher.expiries.next_ns()
        switches = self._switches
        if not switches:
            return expiry_ns
        deadline_ns: int = switches.peekitem(0)[0][0]
        return deadline_ns if expiry_ns is None else min(deadline_ns, expiry_ns)

    def set_switch(self, account: Account, timeout_ns: int) -> None:
        """Arm the account's switch anew, or disarm it with zero.

        Raises:
            Refused: the timeout is out of range.
        """
        if timeout_ns and not TIMEOUT_NS_MIN <= timeout_ns <= TIMEOUT_NS_MAX:
            raise Refused(Reason.FIELD_INVALID, "timeout")
        matcher = self._matcher
        deadline_ns = matcher.time_ns + timeout_ns if timeout_ns else 0
        self.arm(account, deadline_ns)
        matcher.events.append(DeadMansSwitchSet(account.key, deadline_ns))

    def arm(self, account: Account, deadline_ns: int) -> None:
        """Let the account's switch cancel at the deadline; zero disarms it."""
        before_ns = self._deadlines.pop(account.key, 0)
        if before_ns:
            del self._switches[(before_ns, account.key)]
        if deadline_ns:
            self._deadlines[account.key] = deadline_ns
            self._switches[(deadline_ns, account.key)] = account

    def tick(self, time_ns: int) -> None:
        """End the orders whose time has come, then let the switches cancel whose deadline has.

        All orders are one step, and each switch is one.
        """
        matcher = self._matcher
        markets = matcher.markets
        for order in matcher.expiries.due(time_ns):
            end(matcher, markets[order.market_index], order, int(OrderStatus.EXPIRED))
        end_step(matcher)
        switches = self._switches
        while switches and switches.peekitem(0)[0][0] <= time_ns:
            account = switches.peekitem(0)[1]
            self.arm(account, 0)
            count = len(cancel_all(matcher, account, NO_MARKET))
            matcher.events.append(
                MassCancelled(account.key, NO_MARKET, 0, CAUSE_DEAD_MANS_SWITCH, count)
            )
            end_step(matcher)
        next_ns = self.next_ns()
        check(next_ns is None or next_ns > time_ns, "a tick left what was due")

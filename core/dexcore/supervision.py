"""What operators, and the node for a session that ended, do to trading itself."""

from __future__ import annotations

from typing import Final, final

from dexcore.accounts import Account, Accounts
from dexcore.admission import known_market
from dexcore.amending import cancel_all
from dexcore.book import SELL
from dexcore.commands import (
    CAUSE_DISCONNECT,
    CAUSE_OPERATOR,
    MassCancel,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
)
from dexcore.events import MarketLimitsChanged, MassCancelled, StpGroupChanged
from dexcore.limits import INT64_MAX, PPM
from dexcore.market import NO_LIMITS, MarketLimits, MarketStatus
from dexcore.matching import Matcher
from dexcore.phases import set_status
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexcore.steps import end_step

_LIMITS_MAX: Final = MarketLimits(INT64_MAX, PPM, INT64_MAX, INT64_MAX)


@final
class Supervision:
    """Handles the commands that bound or end trading."""

    __slots__ = ("_accounts", "_matcher")

    def __init__(self, accounts: Accounts, matcher: Matcher) -> None:
        self._accounts = accounts
        self._matcher = matcher

    def set_market_limits(self, command: SetMarketLimits, outcome: Outcome) -> None:
        """Bound what a market takes from now on."""
        index = command.market_index
        if index < 0:
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        market = known_market(self._matcher.markets, index)
        limits = MarketLimits(*command[2:])
        for name, value, most in zip(MarketLimits._fields, limits, _LIMITS_MAX, strict=True):
            if not 0 <= value <= most:
                raise Refused(Reason.FIELD_INVALID, name)
        if limits.protection_ticks % market.spec.price_increment_ticks:
            raise Refused(Reason.FIELD_INVALID, "protection_ticks")
        if 0 < limits.notional_max_atoms < limits.notional_min_atoms:
            raise Refused(Reason.FIELD_INVALID, "notional_max_atoms")
        # One object for none: whoever has none is told by it.
        market.limits = NO_LIMITS if limits == NO_LIMITS else limits
        outcome.key = market.index
        outcome.logged.append(MarketLimitsChanged(market.index, *limits))

    def set_market_status(self, command: SetMarketStatus, outcome: Outcome) -> None:
        """Move a market to another phase; an auction that ends by it is held."""
        index = command.market_index
        if index < 0:
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        matcher = self._matcher
        market = known_market(matcher.markets, index)
        if command.status not in tuple(MarketStatus):
            raise Refused(Reason.FIELD_INVALID, "status")
        set_status(matcher, market, MarketStatus(command.status))
        outcome.key = market.index

    def set_stp_group(self, command: SetStpGroup, outcome: Outcome) -> None:
        """Make an account one owner with others, or one by itself."""
        account = self._account(command.account_key)
        if not 0 <= command.stp_group < INT64_MAX:
            raise Refused(Reason.FIELD_INVALID, "stp_group")
        account.stp_group = command.stp_group
        outcome.key = account.key
        outcome.logged.append(StpGroupChanged(account.key, command.stp_group))

    def mass_cancel(self, command: MassCancel, outcome: Outcome) -> None:
        """Cancel all orders that it names, account by account; only operators do in a halt."""
        _, account_key, market_index, side, cause = command
        if cause not in (CAUSE_OPERATOR, CAUSE_DISCONNECT):
            raise Refused(Reason.FIELD_INVALID, "cause")
        if not 0 <= side <= SELL:
            raise Refused(Reason.FIELD_INVALID, "side")
        if market_index < 0:
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        if account_key:
            accounts = [self._account(account_key)]
        elif cause == CAUSE_OPERATOR:
            accounts = list(self._accounts.by_key.values())
        else:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        matcher = self._matcher
        count = 0
        for account in accounts:
            cancelled = cancel_all(
                matcher, account, market_index, side, if_halted=cause == CAUSE_OPERATOR
            )
            count += len(cancelled)
        outcome.logged.append(MassCancelled(account_key, market_index, side, cause, count))
        end_step(matcher)
        outcome.key = account_key
        outcome.counts = (count, 0)

    def _account(self, account_key: int) -> Account:
        account = self._accounts.by_key.get(account_key)
        if account is None:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        return account

"""A maker in the simulation: it holds a session and quotes whatever it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dexsdk import quote_operations
from dexsdk.errors import CallerError, Unavailable
from tests.sim.client import Client, Driver
from tests.sim.events import MILLISECOND_NS, SECOND_NS, Events
from tests.sim.wishes import near

if TYPE_CHECKING:
    from tests.sim.network import Network
    from tests.sim.witness import Witness


class Maker(Client):
    """Comes back after every crash and lost connection, behind the last item it has seen."""

    def __init__(
        self, name: str, events: Events, network: Network, witness: Witness, seed: object
    ) -> None:
        super().__init__(name, events, network, witness, seed)
        self._quotes = Driver(f"{name} quotes", network, witness)
        self._after = 0
        self._is_over = False

    async def make(self) -> None:
        """Quote until told to leave."""
        while not self._is_over:
            try:
                await self._hold_session()
            except Unavailable:
                self.witness.counts["makers' sessions broken"] += 1
            except CallerError as error:
                # After a crash a feed may hold less than before; then it begins anew.
                if error.reason != "SEQUENCE_GONE":
                    raise
                self._after = 0
            finally:
                self._quotes.close()
            await self.events.sleep(self.chance.randint(1, 60) * MILLISECOND_NS)

    def leave(self) -> None:
        """End the session, and open none again."""
        self._is_over = True
        self._quotes.close()

    async def _hold_session(self) -> None:
        keeps = self.chance.random() < 0.5
        opening = quote_operations.open_session(self.session, self._after, keep_quotes=keeps)
        await self._quotes.perform(opening)
        while not self._is_over:
            item = await self._quotes.run(quote_operations.receive())
            kind = item.WhichOneof("item")
            if kind == "result":
                refused = item.result.HasField("rejection")
                self.witness.counts["quotes refused" if refused else "quotes given"] += 1
                continue
            if kind == "opened":
                for request in item.opened.requests:
                    self._quote(request)
            else:
                self.witness.follows("the maker's feed", self._after, item.sequence)
                seen = item.SerializeToString(deterministic=True)
                self.witness.saw("quotes", item.sequence, seen)
                if kind == "request":
                    self._quote(item.request)
            self._after = item.sequence

    def _quote(self, request: Any) -> None:
        """A firm price on each side that is asked for."""
        bid = near(self.chance)
        ask = bid + self.chance.randint(1, 4)
        signed = quote_operations.sign_quote(
            self.session,
            request.quote_request_id,
            bid_price_ticks=0 if request.side == 1 else bid,
            ask_price_ticks=0 if request.side == 2 else ask,
            seconds=self.chance.randint(1, 2_000) * MILLISECOND_NS / SECOND_NS,
        )
        self._quotes.write(quote_operations.message_of(signed))

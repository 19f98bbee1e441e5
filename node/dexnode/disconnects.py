"""Cancels what sessions leave behind: all orders of an account when its order stream has ended.

A stream ends in the middle of anything: the node may be full or its disk behind. What must be
cancelled is therefore kept here until the journal has it, and the stop of the node waits for it.
"""

from __future__ import annotations

from typing import Final, final

import structlog
import trio

from dexcore.commands import CAUSE_DISCONNECT, MassCancel
from dexcore.items import NO_MARKET
from dexcore.results import Outcome
from dexruntime.journal import JournalFull
from dexruntime.promise import Promise
from dexruntime.sequencer import DrainingError, QueueFull, Sequencer

# Between two tries on a journal that takes nothing.
RETRY_SECONDS: Final = 0.1
# How long the stop of a node waits for a journal that takes nothing.
FINISH_SECONDS: Final = 5.0

log = structlog.stdlib.get_logger(__name__)


@final
class Disconnects:
    """Accounts whose orders are to be cancelled, until they are."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        # As a set with an order.
        self._waiting: dict[int, None] = {}
        self._busy = False
        self._news = trio.Event()
        self._done = trio.Event()

    def cancel(self, account_key: int) -> None:
        """A session that asked for it has ended: cancel the account's orders, soon."""
        self._waiting[account_key] = None
        self._news.set()

    async def run(self) -> None:
        """Serve until cancelled, or until the node takes no more commands."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self._busy = True
            try:
                while self._waiting:
                    await self._cancel_all()
            except DrainingError:
                return
            self._busy = False
            self._done.set()
            self._done = trio.Event()

    async def finish(self) -> None:
        """Wait until nothing is left to cancel; with a log line when that takes too long."""
        with trio.move_on_after(FINISH_SECONDS):
            while self._waiting or self._busy:
                await self._done.wait()
        if self._waiting or self._busy:
            log.error("orders of ended sessions may still be open", accounts=len(self._waiting))

    async def _cancel_all(self) -> None:
        """Cancel for each that waits now; what the node does not take waits on."""
        under_way: list[tuple[int, Promise[Outcome]]] = []
        is_full = False
        for account_key in list(self._waiting):
            try:
                under_way.append((account_key, self._submit(account_key)))
            except QueueFull:
                is_full = True
                break
        for account_key, promise in under_way:
            await promise.wait_done()
            try:
                promise.result()
            except JournalFull:
                is_full = True
                self._waiting[account_key] = None
        if is_full:
            await trio.sleep(RETRY_SECONDS)

    def _submit(self, account_key: int) -> Promise[Outcome]:
        command = MassCancel("", account_key, NO_MARKET, 0, CAUSE_DISCONNECT)
        promise = self._sequencer.submit(command)
        # A session that ends from here on asks for a cancel of its own.
        del self._waiting[account_key]
        return promise

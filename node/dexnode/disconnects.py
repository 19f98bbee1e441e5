"""Ends what streams leave behind: all orders of an account that asked for it, and MAC sessions.

A stream ends in the middle of anything: the node may be full or its disk behind. What must be
journaled then is therefore kept here until it is, and the stop of the node waits for it.
"""

from __future__ import annotations

from typing import Final, final

import structlog
import trio

from dexcore.commands import CAUSE_DISCONNECT, Command, MassCancel
from dexcore.items import NO_MARKET
from dexcore.reasons import Reason
from dexcore.results import Outcome
from dexcore.session_commands import EndSession
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
    """What is to be journaled of streams that ended, until it is."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        # As a set with an order.
        self._waiting: dict[Command, None] = {}
        # Sessions that nobody waits for any more: whether they opened will show.
        self._openings: list[Promise[Outcome]] = []
        self._busy = False
        self._news = trio.Event()
        self._done = trio.Event()

    def cancel(self, account_key: int) -> None:
        """A stream that asked for it has ended: cancel the account's orders, soon."""
        self._add(MassCancel("", account_key, NO_MARKET, 0, CAUSE_DISCONNECT))

    def end_session(self, session_key: int, reason: int = 0) -> None:
        """End a session, soon: for this reason, or because its stream ended."""
        self._add(EndSession(session_key, reason))

    def end_opening(self, opening: Promise[Outcome]) -> None:
        """End a session that may be about to open: its stream has ended."""
        self._openings.append(opening)
        self._news.set()

    def _add(self, command: Command) -> None:
        self._waiting[command] = None
        self._news.set()

    async def run(self) -> None:
        """Serve until cancelled, or until the node takes no more commands."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self._busy = True
            try:
                while self._waiting or self._openings:
                    await self._await_openings()
                    await self._submit_all()
            except DrainingError:
                return
            self._busy = False
            self._done.set()
            self._done = trio.Event()

    async def finish(self) -> None:
        """Wait until nothing is left to do; with a log line when that takes too long."""
        with trio.move_on_after(FINISH_SECONDS):
            while self._waiting or self._openings or self._busy:
                await self._done.wait()
        if self._waiting or self._openings or self._busy:
            log.error("orders of ended streams may still be open", commands=len(self._waiting))

    async def _await_openings(self) -> None:
        """Find out which sessions opened without anybody waiting for them."""
        while self._openings:
            opening = self._openings.pop()
            await opening.wait_done()
            try:
                outcome = opening.result()
            except JournalFull:
                continue
            if outcome.reason == Reason.NONE and not outcome.repeated:
                self._add(EndSession(outcome.key, 0))

    async def _submit_all(self) -> None:
        """Submit each that waits now; what the node does not take waits on."""
        under_way: list[tuple[Command, Promise[Outcome]]] = []
        is_full = False
        for command in list(self._waiting):
            try:
                under_way.append((command, self._submit(command)))
            except QueueFull:
                is_full = True
                break
        for command, promise in under_way:
            await promise.wait_done()
            try:
                promise.result()
            except JournalFull:
                is_full = True
                self._waiting[command] = None
        if is_full:
            await trio.sleep(RETRY_SECONDS)

    def _submit(self, command: Command) -> Promise[Outcome]:
        promise = self._sequencer.submit(command)
        # A stream that ends from here on asks for the same anew.
        del self._waiting[command]
        return promise

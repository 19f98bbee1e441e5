"""The bots' accounts: the same at every start of the demo, with as much play money as at first."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dexnode.demo.markets import faucet_atoms
from dexsdk import CallerError, Client, Key


@dataclass(frozen=True)
class BotAccounts:
    """Where the bots trade, who funds them and where their keys are kept."""

    address: str
    network_id: str
    operator: Client
    folder: Path

    @asynccontextmanager
    async def open(self, bot: str, faucet_pulls: int) -> AsyncIterator[Client]:
        """A bot's own connection: no open orders, and money worth `faucet_pulls` or half of it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        account_id = await self._register(bot)
        key = Key.load(self._key_path(bot))
        async with Client(
            self.address, network_id=self.network_id, key=key, account_id=account_id
        ) as client:
            await client.cancel_all()
            await self._top_up(client, faucet_pulls)
            yield client

    async def _register(self, bot: str) -> str:
        """The account of the bot's key, opened unless this node knows the key."""
        key_path, account_path = self._key_path(bot), self.folder / f"{bot}.account"
        if not key_path.exists():
            Key.generate().save(key_path)
        key = Key.load(key_path)
        async with Client(self.address, network_id=self.network_id, key=key) as client:
            try:
                account_id = await client.register_key()
            except CallerError as refused:
                if refused.reason != "KEY_ALREADY_REGISTERED":
                    raise
            else:
                _write(account_path, account_id)
                return account_id
        if account_path.exists():
            return account_path.read_text().strip()
        # The answer that named the account was lost: only a new key opens another.
        key_path.unlink()
        return await self._register(bot)

    async def _top_up(self, client: Client, faucet_pulls: int) -> None:
        """Fill up what is less than half of what a bot starts with."""
        account = await client.get_account()
        held = {each.asset_id: each.available_atoms for each in account.balances}
        for asset_id, atoms in faucet_atoms(faucet_pulls).items():
            missing = atoms - held.get(asset_id, 0)
            if missing > atoms // 2:
                reference = f"demo-{secrets.token_hex(8)}-{asset_id}"
                await self.operator.admin.credit_account(
                    client.account_id, asset_id, missing, reference
                )

    def _key_path(self, bot: str) -> Path:
        return self.folder / f"{bot}.key"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for a demo may be killed at any time."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(path)

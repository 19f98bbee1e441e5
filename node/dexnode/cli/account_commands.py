"""``dex account``: keys, balances, money."""

from __future__ import annotations

import secrets
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from dex.accounts.v1.accounts_pb2 import AccountKey
from dexnode.cli.common import (
    DECIMAL,
    Target,
    duration_ns,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexnode.cli.order_table import print_orders
from dexsdk import DexError, Key, KeyScope, LedgerEntryKind, SyncClient


@click.group()
def account() -> None:
    """Open an account, see what it owns, move money."""


@account.command()
@click.option("--new", is_flag=True, help="Make a new key and account even if there is one.")
@target_options
def create(target: Target, new: bool) -> None:
    """Make a key, open an account with it, and keep both in the home folder.

    Later commands act for this account. A second call shows the account you have.
    """
    profile = target.profile
    key_path, account_path = profile / "key", profile / "account"
    if account_path.exists() and not new:
        account_id = account_path.read_text().strip()
        _check_known(target, account_id)
        _say(target, account_id, f"you have account {account_id} (another one: --new)")
        return
    profile.mkdir(parents=True, exist_ok=True, mode=0o700)
    if new:
        for path in (key_path, account_path):
            if path.exists():
                path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}.old"))
    if not key_path.exists():
        Key.generate().save(key_path)
    key = Key.load(key_path)
    with SyncClient(
        target.address, network_id=target.network_id, key=key, tls=target.tls
    ) as client:
        account_id = client.register_key()
    account_path.write_text(account_id + "\n")
    _say(target, account_id, f"account {account_id}\nkey     {key_path} (keep it secret)")


def _check_known(target: Target, account_id: str) -> None:
    """A node that was begun anew has the same network id and none of its accounts."""
    with target.client() as client:
        try:
            client.get_account()
        except DexError as error:
            if error.reason not in ("UNKNOWN_KEY", "UNKNOWN_ACCOUNT"):
                raise
            raise click.ClickException(
                f"{target.address} does not know your account {account_id} of network "
                f"{target.network_id}: open one there with --new (the old key stays as a file)"
            ) from error


def _say(target: Target, account_id: str, text: str) -> None:
    if target.as_json:
        print_json({"account_id": account_id, "profile": str(target.profile)})
    else:
        click.echo(text)


@account.command()
@target_options
def keys(target: Target) -> None:
    """List the keys of the account, the revoked ones too: what each may do, until when."""
    with target.client() as client:
        found, account_id = client.list_keys(), client.account_id
    if target.as_json:
        print_json({"account_id": account_id, "keys": [_key_facts(key) for key in found]})
        return
    print_table(
        ("public key", "scopes", "expires", "revoked", "label"),
        [
            (
                facts["public_key"],
                " ".join(facts["scopes"]),
                facts.get("expire_time", "never"),
                facts.get("revoke_time", "no"),
                facts["label"],
            )
            for facts in map(_key_facts, found)
        ],
    )


def _key_facts(key: AccountKey) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "public_key": key.public_key.hex(),
        "scopes": [KeyScope(scope).name.lower() for scope in key.scopes],
        "label": key.label,
    }
    for name in ("expire_time", "revoke_time"):
        if key.HasField(name):
            facts[name] = getattr(key, name).ToJsonString()
    return facts


@account.command("add-key")
@click.argument("key_file", type=click.Path(path_type=Path))
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.name.lower() for scope in KeyScope]),
    help="What it may do; may be given again.  [default: all that your key may]",
)
@click.option(
    "--expires",
    metavar="DURATION",
    help="Until when, from now: 12h, 30d.  [default: as your key]",
)
@click.option("--label", default="", help="Your name for it, at most 64 characters.")
@target_options
def add_key(
    target: Target, key_file: Path, scopes: tuple[str, ...], expires: str | None, label: str
) -> None:
    """Give the account another key, kept in KEY_FILE; made anew when there is no such file.

    A key for a bot should do what the bot does and no more.

    \b
    Example:
      dex account add-key bot.key --scope read --scope trade --expires 30d --label bot
    """
    expire_time = None
    if expires is not None:
        ahead_ns = duration_ns(expires)
        if ahead_ns is None:
            raise click.BadParameter(
                f"{expires!r} is not like 90m, 12h or 30d", param_hint="--expires"
            )
        expire_time = time.time_ns() + ahead_ns
    if not key_file.exists():
        Key.generate().save(key_file)
    public_key = Key.load(key_file).public_bytes
    with target.client() as client:
        client.register_key(
            public_key,
            scopes=[KeyScope[name.upper()] for name in scopes],
            expire_time=expire_time,
            label=label,
        )
    if target.as_json:
        print_json({"public_key": public_key.hex(), "key_file": str(key_file)})
    else:
        click.echo(f"key     {public_key.hex()}\nfile    {key_file} (keep it secret)")


@account.command("revoke-key")
@click.argument("public_key", metavar="PUBLIC_KEY")
@click.option("--cancel-all", is_flag=True, help="Cancel all open orders of the account too.")
@target_options
def revoke_key(target: Target, public_key: str, cancel_all: bool) -> None:
    """End a key of the account for good: PUBLIC_KEY as `dex account keys` shows it.

    What it signs is refused from now on, and so are its access tokens. Orders it placed stay
    open unless --cancel-all is given.
    """
    try:
        key = bytes.fromhex(public_key)
    except ValueError:
        raise click.BadParameter(
            f"{public_key!r} is not 64 hex digits", param_hint="PUBLIC_KEY"
        ) from None
    with target.client() as client:
        cancelled = client.revoke_key(key, cancel_all=cancel_all)
    if target.as_json:
        print_json({"public_key": public_key, "cancelled": len(cancelled)})
    else:
        click.echo(f"revoked; {len(cancelled)} orders cancelled")


@account.command()
@target_options
def show(target: Target) -> None:
    """Balances and open orders of the account."""
    with target.client() as client:
        found = client.get_account()
        markets = {market.market_id: market for market in client.list_markets()}
    if target.as_json:
        print_json(found)
        return
    click.echo(f"account {printable(found.account_id)}")
    print_table(
        ("asset", "available", "held"),
        [
            (b.asset_id, _units(b.available_atoms, b.scale), _units(b.held_atoms, b.scale))
            for b in found.balances
        ],
    )
    if found.open_orders:
        click.echo(f"{found.open_order_count} open orders")
        print_orders(markets, found.open_orders)
    if found.HasField("dead_mans_switch_time"):
        click.echo(f"dead man's switch: {found.dead_mans_switch_time.ToJsonString()}")


@account.command("self-trade-group")
@click.argument("account_id")
@click.argument("group", type=click.IntRange(min=0, max=2**62))
@target_options
def self_trade_group(target: Target, account_id: str, group: int) -> None:
    """Make accounts one owner for self-trade prevention (operators only).

    Accounts with the same GROUP, a number of your choice, do not trade with each
    other where their orders say --stp. 0 takes the account out.
    """
    with target.operator() as client:
        client.admin.set_self_trade_group(account_id, group)
    if target.as_json:
        print_json({"account_id": account_id, "group": group})
    else:
        click.echo(f"group {group}" if group else "no group")


@account.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="At most this many, newest first.",
)
@target_options
def ledger(target: Target, limit: int) -> None:
    """What moved the account's money, newest first."""
    with target.client() as client:
        entries = client.list_ledger_entries(limit=limit)
    if target.as_json:
        print_json(entries)
        return
    print_table(
        ("sequence", "time", "kind", "asset", "amount", "reference"),
        [
            (
                entry.sequence,
                entry.time.ToJsonString(),
                LedgerEntryKind(entry.kind).name.lower(),
                entry.asset_id,
                _units(entry.amount_atoms, entry.scale),
                entry.reference,
            )
            for entry in entries
        ],
    )


@account.command()
@click.argument("account_id")
@click.argument("asset_id")
@click.argument("amount", type=DECIMAL)
@click.option("--reference", help="Where the money came from; unique for good.")
@target_options
def deposit(
    target: Target, account_id: str, asset_id: str, amount: Decimal, reference: str | None
) -> None:
    """Book money that came in (operators only). AMOUNT is in units, e.g. 1.5.

    Repeating it with the same --reference books nothing twice.
    """
    _book(target, "credit_account", account_id, asset_id, amount, reference)


@account.command()
@click.argument("account_id")
@click.argument("asset_id")
@click.argument("amount", type=DECIMAL)
@click.option("--reference", help="Where the money went; unique for good.")
@target_options
def withdraw(
    target: Target, account_id: str, asset_id: str, amount: Decimal, reference: str | None
) -> None:
    """Book money that went out (operators only). AMOUNT is in units, e.g. 1.5."""
    _book(target, "debit_account", account_id, asset_id, amount, reference)


def _book(
    target: Target,
    method: str,
    account_id: str,
    asset_id: str,
    amount: Decimal,
    reference: str | None,
) -> None:
    reference = reference or f"cli-{secrets.token_hex(8)}"
    with target.operator() as client:
        atoms = to_atoms(client, asset_id, amount)
        applied = getattr(client.admin, method)(account_id, asset_id, atoms, reference)
    if target.as_json:
        print_json({"applied": applied, "reference": reference})
    else:
        click.echo(f"booked at {applied.sequence}, reference {reference}")


@account.command()
@click.argument("to_account_id")
@click.argument("asset_id")
@click.argument("amount", type=DECIMAL)
@target_options
def transfer(target: Target, to_account_id: str, asset_id: str, amount: Decimal) -> None:
    """Move available money to another account. AMOUNT is in units, e.g. 1.5."""
    with target.client() as client:
        atoms = to_atoms(client, asset_id, amount)
        applied = client.transfer(to_account_id, asset_id, atoms)
    if target.as_json:
        print_json(applied)
    else:
        click.echo(f"moved at {applied.sequence}")


def to_atoms(client: SyncClient, asset_id: str, amount: Decimal) -> int:
    """An amount in units as atoms of the asset, by any market that names it."""
    for market in client.list_markets():
        if asset_id in (market.base_asset_id, market.quote_asset_id):
            return market.amount_atoms(asset_id, amount)
    raise click.ClickException(f"no market names the asset {asset_id}")


def _units(atoms: int, scale: int) -> str:
    value = Decimal(atoms).scaleb(-scale)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

"""``dex demo``: a node, bots that trade on it, and a screen to watch them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import click
import trio

from dexnode.cli.common import (
    DEFAULT_ADDRESS,
    DEFAULT_NETWORK,
    DEMO_DATA_DIR,
    OPERATOR_KEY_NAME,
    Target,
    print_json,
    target_options,
)
from dexnode.cli.trio_main import run_trio
from dexnode.config import load_config
from dexnode.demo.processes import Child, interrupt_on_end_signals
from dexsdk import DexError, Key

NODE_LOG: Final = "node.log"
BOTS_LOG: Final = "bots.log"
# Beside the operator's key: the keys of the bots.
BOTS_FOLDER: Final = "bots"
WATCH_PAUSE_SECONDS: Final = 0.2
# How the journal says that a node holds it.
IN_USE: Final = re.compile(r"in use by process (\d+)")


@click.group(invoke_without_command=True)
@click.option("--data-dir", type=click.Path(path_type=Path), default=DEMO_DATA_DIR)
@click.option("--seed", default=1, show_default=True, help="Seed of the bots' decisions.")
@click.option("--market", "market_id", default="BTC-USDC.eth", show_default=True)
@click.option("--no-top", is_flag=True, help="Only run it; no screen.")
@click.option("--rpc-backend", type=click.Choice(["trio", "aio"]), default="trio")
@click.pass_context
def demo(
    ctx: click.Context, data_dir: Path, seed: int, market_id: str, no_top: bool, rpc_backend: str
) -> None:
    """Run a node with a live demo market and watch it. Ctrl-C stops all of it.

    The market is a simulation and says so: seeded bots open accounts, take play
    money from the demo's faucet and send signed orders over gRPC like anyone else.
    The node is a real one: journal on disk, ledger, K-lines, metrics.
    """
    if ctx.invoked_subcommand is not None:
        return
    interrupt_on_end_signals()
    data_dir.mkdir(parents=True, exist_ok=True)
    operator_key = _operator_key(data_dir)
    children: list[Child] = []
    try:
        children.append(_start_node(data_dir, operator_key, rpc_backend))
        addresses = _wait_ready(children[0])
        network_id = load_config(None, os.environ, {}).config.node.network_id
        _welcome(addresses, network_id, data_dir)
        children.append(_start_bots(data_dir, addresses["grpc"], network_id, seed))
        _watch(children, addresses, network_id, market_id, no_top=no_top)
    finally:
        for child in reversed(children):
            child.stop()


def _operator_key(data_dir: Path) -> Key:
    """The demo's operator: a key made at the first start, readable by its owner alone."""
    path = data_dir / OPERATOR_KEY_NAME
    if not path.exists():
        Key.generate().save(path)
    return Key.load(path)


def _start_node(data_dir: Path, operator: Key, rpc_backend: str) -> Child:
    public_key = operator.public_bytes.hex()
    arguments = ["node", "run", "--json", "--set", "demo.enabled=true"]
    arguments += ["--data-dir", str(data_dir), "--rpc-backend", rpc_backend]
    operators = f'[{{ name = "demo", public_key = "{public_key}" }}]'
    environment = {"DEX_OPERATORS": operators}
    return Child("node", arguments, data_dir / NODE_LOG, environment, piped=True)


def _wait_ready(node: Child) -> dict[str, str]:
    """The node's addresses, from the line it prints when it is ready."""
    line = node.output.readline()
    if not line:
        node.wait()
        words = node.last_words()
        owner = IN_USE.search(words)
        if owner:
            raise click.ClickException(f"the demo already runs here (process {owner[1]})")
        raise click.ClickException(f"the node did not start: {words}\nlog: {node.log_path}")
    ready: dict[str, Any] = json.loads(line)
    addresses: dict[str, str] = ready["ready"]
    return addresses


def _welcome(addresses: dict[str, str], network_id: str, data_dir: Path) -> None:
    click.echo("Triodex demo: a simulated market on a real node")
    click.echo(f"  gRPC     {addresses['grpc']}")
    click.echo(f"  Flight   grpc://{addresses['flight']}")
    click.echo(f"  metrics  http://{addresses['metrics']}/metrics")
    click.echo(f"  data     {data_dir} (logs in {NODE_LOG}, {BOTS_LOG})")
    click.echo("Trade in another terminal: dex account create, dex demo faucet, dex order place")
    needed = _environment(addresses, network_id, data_dir)
    if needed:
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in needed.items())
        click.echo(f"There, first: export {settings}")


def _environment(addresses: dict[str, str], network_id: str, data_dir: Path) -> dict[str, str]:
    """What a client's options need to be where the defaults do not lead to this demo."""
    needed = {}
    if addresses["grpc"] != DEFAULT_ADDRESS:
        needed["DEX_ADDRESS"] = addresses["grpc"]
    host, _, port = addresses["grpc"].rpartition(":")
    if addresses["flight"] != f"{host}:{int(port) + 1}":
        needed["DEX_FLIGHT_ADDRESS"] = addresses["flight"]
    if network_id != DEFAULT_NETWORK:
        needed["DEX_NETWORK_ID"] = network_id
    if data_dir != DEMO_DATA_DIR:
        needed["DEX_OPERATOR_KEY"] = str((data_dir / OPERATOR_KEY_NAME).resolve())
    return needed


def _start_bots(data_dir: Path, address: str, network_id: str, seed: int) -> Child:
    arguments = ["demo", "bots", "--address", address, "--network-id", network_id]
    arguments += ["--operator-key", str(data_dir / OPERATOR_KEY_NAME), "--seed", str(seed)]
    return Child("bots", arguments, data_dir / BOTS_LOG)


def _watch(
    children: list[Child],
    addresses: dict[str, str],
    network_id: str,
    market_id: str,
    *,
    no_top: bool,
) -> None:
    """Show the market until Ctrl-C; ClickException when the node or the bots end before."""
    if no_top or not sys.stdout.isatty():
        sys.stdout.flush()
        while not any(child.ended for child in children):
            time.sleep(WATCH_PAUSE_SECONDS)
    else:
        _watch_screen(children, addresses, network_id, market_id)
    for child in children:
        if child.ended:
            words = child.last_words()
            raise click.ClickException(
                f"the {child.name} ended{': ' + words if words else ''}\nlog: {child.log_path}"
            )


def _watch_screen(
    children: list[Child], addresses: dict[str, str], network_id: str, market_id: str
) -> None:
    from dexnode.cli.top_command import watch_market

    left = threading.Event()

    def leave_when_one_ends() -> None:
        while not left.wait(WATCH_PAUSE_SECONDS):
            if any(child.ended for child in children):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watch = threading.Thread(target=leave_when_one_ends, name="child-watch", daemon=True)
    watch.start()
    shown = {"gRPC": addresses["grpc"], "Flight": addresses["flight"]}
    try:
        watch_market(
            addresses["grpc"],
            network_id,
            market_id,
            addresses=shown | {"metrics": addresses["metrics"]},
            note="simulation: seeded bots",
        )
    except (KeyboardInterrupt, DexError):
        # What the screen stumbled over tells less than which process ended.
        if not any(child.ended for child in children):
            raise
    finally:
        left.set()
        watch.join()


@demo.command()
@click.option("--seed", default=1, show_default=True)
@target_options
def bots(target: Target, seed: int) -> None:
    """Run only the bots, against a node that runs already."""
    from dexnode.demo.bots import run_bots

    key_path = target.operator_key or DEMO_DATA_DIR / OPERATOR_KEY_NAME
    key = target.load_operator_key()
    if key is None:
        raise click.ClickException("the bots need the operator's key")
    folder = key_path.parent / BOTS_FOLDER
    run_trio(run_bots, target.address, target.network_id, key, seed, folder)


@demo.command()
@click.argument("account_id", default="")
@target_options
def faucet(target: Target, account_id: str) -> None:
    """Give an account play money of the demo.  [default: your own account]"""
    from dexnode.demo.markets import FAUCET_UNITS, pull_faucet

    account_id = account_id or target.credentials()[1]

    async def pull() -> None:
        async with target.async_operator() as operator:
            await pull_faucet(operator, account_id, f"faucet-{secrets.token_hex(8)}")

    trio.run(pull)
    if target.as_json:
        print_json({"account_id": account_id, "units": FAUCET_UNITS})
    else:
        given = ", ".join(f"{units} {asset}" for asset, units in FAUCET_UNITS.items())
        click.echo(f"{account_id} got {given}")

"""``dex demo``: a node, bots that trade on it, and a screen to watch them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import trio

from dexnode.cli.common import (
    DEFAULT_NETWORK,
    DEMO_DATA_DIR,
    OPERATOR_KEY_NAME,
    Target,
    print_json,
    target_options,
)
from dexsdk import Key

NODE_LOG = "node.log"
BOTS_LOG = "bots.log"


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
    # SIGTERM must stop the node and the bots too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data_dir.mkdir(parents=True, exist_ok=True)
    operator_key = _operator_key(data_dir)
    node = _start_node(data_dir, operator_key, rpc_backend)
    bots: subprocess.Popen[bytes] | None = None
    try:
        addresses = _wait_ready(node, data_dir)
        _welcome(addresses, data_dir)
        bots = _start_bots(data_dir, addresses["grpc"], seed)
        _watch(node, bots, addresses, market_id, no_top=no_top)
    finally:
        for process in (bots, node):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def _operator_key(data_dir: Path) -> Key:
    """The demo's operator: a key made at the first start, readable by its owner alone."""
    path = data_dir / OPERATOR_KEY_NAME
    if not path.exists():
        Key.generate().save(path)
    return Key.load(path)


def _start_node(data_dir: Path, operator: Key, rpc_backend: str) -> subprocess.Popen[bytes]:
    public_key = operator.public_bytes.hex()
    environment = {
        **os.environ,
        "DEX_OPERATORS": f'[{{ name = "demo", public_key = "{public_key}" }}]',
    }
    command = [sys.executable, "-m", "dexnode", "node", "run", "--json"]
    command += ["--data-dir", str(data_dir), "--rpc-backend", rpc_backend]
    command += ["--set", "demo.enabled=true"]
    log = (data_dir / NODE_LOG).open("ab")
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True
    )


def _wait_ready(node: subprocess.Popen[bytes], data_dir: Path) -> dict[str, str]:
    """The node's addresses, from the line it prints when it is ready."""
    line = node.stdout.readline() if node.stdout is not None else b""
    if not line:
        tail = (data_dir / NODE_LOG).read_text(errors="replace").splitlines()[-3:]
        raise click.ClickException(
            "the node did not start:\n  " + "\n  ".join(tail) + f"\nlog: {data_dir / NODE_LOG}"
        )
    ready: dict[str, Any] = json.loads(line)
    addresses: dict[str, str] = ready["ready"]
    return addresses


def _welcome(addresses: dict[str, str], data_dir: Path) -> None:
    click.echo("Triodex demo: a simulated market on a real node")
    click.echo(f"  gRPC     {addresses['grpc']}")
    click.echo(f"  Flight   grpc://{addresses['flight']}")
    click.echo(f"  metrics  http://{addresses['metrics']}/metrics")
    click.echo(f"  data     {data_dir} (logs in {NODE_LOG}, {BOTS_LOG})")
    click.echo("Trade in another terminal: dex account create, dex demo faucet, dex order place")


def _start_bots(data_dir: Path, address: str, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dexnode", "demo", "bots", "--address", address]
    command += ["--operator-key", str(data_dir / OPERATOR_KEY_NAME), "--seed", str(seed)]
    log = (data_dir / BOTS_LOG).open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _watch(
    node: subprocess.Popen[bytes],
    bots: subprocess.Popen[bytes],
    addresses: dict[str, str],
    market_id: str,
    *,
    no_top: bool,
) -> None:
    """Show the market until it ends or Ctrl-C."""
    if no_top or not sys.stdout.isatty():
        sys.stdout.flush()
        while node.poll() is None and bots.poll() is None:
            time.sleep(0.5)
        raise click.ClickException("the node or the bots ended; see their logs")
    from dexnode.cli.top_command import watch_market

    shown = {"gRPC": addresses["grpc"], "Flight": addresses["flight"]}
    watch_market(
        addresses["grpc"],
        DEFAULT_NETWORK,
        market_id,
        addresses=shown | {"metrics": addresses["metrics"]},
        note="simulation: seeded bots",
    )


@demo.command()
@click.option("--seed", default=1, show_default=True)
@target_options
def bots(target: Target, seed: int) -> None:
    """Run only the bots, against a node that runs already."""
    from dexnode.demo.bots import run_bots

    key = target.load_operator_key()
    if key is None:
        raise click.ClickException("the bots need the operator's key")
    trio.run(run_bots, target.address, target.network_id, key, seed)


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

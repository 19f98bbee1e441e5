"""``dex node``: run, check, ask and stop a node."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from dexnode.cli.common import (
    Target,
    json_option,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexnode.config import LoadedConfig, load_config
from dexnode.config_text import print_config
from dexnode.settings import NodeConfig
from dexnode.start import start_failure
from dexsdk.admin_operations import SNAPSHOT_TIMEOUT_SECONDS

SWITCH_INTERVAL_SECONDS = 0.0001


@click.group()
def node() -> None:
    """Run a node, ask it how it is, stop it."""


@node.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Overrides node.data_dir.")
@click.option("--rpc-backend", type=click.Choice(["trio", "aio"]), help="Overrides grpc.backend.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Any setting.")
@click.option("--print-config", "only_print", is_flag=True, help="Print the settings and stop.")
@json_option
def run(
    config_file: Path | None,
    data_dir: Path | None,
    rpc_backend: str | None,
    settings: tuple[str, ...],
    only_print: bool,
    as_json: bool,
) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    Settings come from defaults, then the TOML file, then the environment
    (DEX_GRPC__PORT=7500), then flags. The node listens on loopback; any other
    interface asks for TLS. `--print-config` shows every setting and its source.
    SIGHUP reads the operators and the TLS files again, without losing a call.

    \b
    Examples:
      dex node run --data-dir data
      dex node run --config node.toml --set grpc.port=7500
    """
    loaded = load_config(config_file, os.environ, _overrides(data_dir, rpc_backend, settings))
    if only_print:
        click.echo(print_config(loaded))
        return
    run_node(
        loaded,
        lambda: (
            load_config(config_file, os.environ, _overrides(data_dir, rpc_backend, settings)).config
        ),
        as_json=as_json,
    )


def run_node(loaded: LoadedConfig, read_config: Callable[[], NodeConfig], *, as_json: bool) -> None:
    """Run the configured node in this process; returns when it has stopped in order."""
    from dexnode.files import raise_file_limit
    from dexnode.logs import configure_logs
    from dexnode.node import Node, node_version
    from dexnode.telemetry import Telemetry

    # The journal's thread waits for the GIL after every sync; with the default of 5 ms
    # a busy loop made that wait longer than the disk's.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    raise_file_limit()
    config = loaded.config
    configure_logs(config.telemetry)
    log = structlog.stdlib.get_logger("dexnode")

    def ready(running: Node) -> None:
        addresses = {
            "grpc": running.grpc_address,
            "flight": running.flight_address,
            "metrics": running.metrics_address,
        }
        if as_json:
            print_json({"ready": addresses})
            sys.stdout.flush()
        log.info("ready", network_id=config.node.network_id, **addresses)

    with Telemetry(config, node_version()) as telemetry:

        async def serve() -> None:
            await Node(config, telemetry, read_config).run(ready)

        try:
            if config.grpc.backend == "aio":
                from dexrpc.aio_backend import run_with_aio

                run_with_aio(serve)
            else:
                trio.run(serve)
        except BaseExceptionGroup as group:
            failure = start_failure(group)
            if failure is None:
                raise
            raise failure from None
    log.info("stopped")


def _overrides(
    data_dir: Path | None, rpc_backend: str | None, settings: tuple[str, ...]
) -> dict[str, object]:
    overrides: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or "." not in key:
            raise click.BadParameter(f"{setting!r} is not SECTION.KEY=VALUE", param_hint="--set")
        overrides[key] = value
    if data_dir is not None:
        overrides["node.data_dir"] = str(data_dir)
    if rpc_backend is not None:
        overrides["grpc.backend"] = rpc_backend
    return overrides


@node.command()
@target_options
def status(target: Target) -> None:
    """What a running node is and does (operators only)."""
    with target.operator() as client:
        answer = client.admin.get_node_status()
    if target.as_json:
        print_json(answer)
        return
    rows = [(field.name, value) for field, value in answer.ListFields()]
    print_table(("what", "value"), [(n, _shown(v)) for n, v in rows])


@node.command()
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=SNAPSHOT_TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds to wait.",
)
@target_options
def snapshot(target: Target, timeout_seconds: float) -> None:
    """Write a snapshot and wait for it (operators only).

    The node replays what its journal holds since the last one: it may take minutes.
    """
    with target.operator() as client:
        answer = client.admin.take_snapshot(timeout_seconds=timeout_seconds)
    if target.as_json:
        print_json(answer)
    else:
        state_hash = printable(answer.state_hash)
        click.echo(f"snapshot at {answer.sequence}: {answer.size_bytes} bytes, {state_hash}")


@node.command()
@target_options
def drain(target: Target) -> None:
    """Stop a running node in order (operators only)."""
    with target.operator() as client:
        client.admin.drain()
    if target.as_json:
        print_json({})
    else:
        click.echo("draining")


def _shown(value: Any) -> str:
    from google.protobuf.timestamp_pb2 import Timestamp

    return value.ToJsonString() if isinstance(value, Timestamp) else str(value)

"""The Go and TypeScript clients: the golden vectors, and one signed order each on a node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dexsdk import Key, Market, OrderStatus
from tests.support.node_process import NodeProcess

ROOT = Path(__file__).resolve().parents[2]
GO_SDK = ROOT / "sdk" / "go"
TYPESCRIPT_SDK = ROOT / "sdk" / "typescript"
VECTORS = ROOT / "tests" / "vectors"
# The first build compiles gRPC for Go; with a warm cache it takes a second.
BUILD_TIMEOUT_SECONDS = 300
RUN_TIMEOUT_SECONDS = 60
MARKET = Market.define(
    "POLYBASE-POLYQUOTE", base_scale=8, quote_scale=8, tick_size="0.01", lot_size="0.001"
)
PRICE_TICKS, QUANTITY_LOTS = 1_000, 5


def run(command: list[str], cwd: Path, timeout: int, **environment: str) -> str:
    """Runs a program; its whole output is in the failure."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def go(tool: Callable[[str], Path]) -> list[str]:
    """The command line of Go."""
    found = shutil.which("go")
    return [found or str(tool("bin/go"))]


@pytest.fixture(scope="module")
def go_place_order(go: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The built Go example."""
    binary = tmp_path_factory.mktemp("go") / "place_order"
    build = [*go, "build", "-buildvcs=false", "-o", str(binary), "./cmd/place_order"]
    run(build, GO_SDK, BUILD_TIMEOUT_SECONDS)
    return [str(binary)]


@pytest.fixture(scope="module")
def typescript(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript package with the contract and its dependencies in place, outside the tree."""
    package = tmp_path_factory.mktemp("typescript") / "sdk"
    ignored = shutil.ignore_patterns("node_modules", "gen", "dist")
    shutil.copytree(TYPESCRIPT_SDK, package, ignore=ignored)
    shutil.copytree(ROOT / "gen" / "typescript", package / "gen")
    (package / "node_modules").symlink_to(tool("node_modules"))
    return package


@pytest.fixture(scope="module")
def node_js(tool: Callable[[str], Path]) -> str:
    """Node: the one `make tools` brought because the machine's is too old, or the machine's."""
    own = ROOT / ".tools" / "bin" / "node"
    found = None if own.exists() else shutil.which("node")
    return found or str(tool("bin/node"))


def test_go_passes_the_vectors(go: list[str]) -> None:
    run([*go, "vet", "./..."], GO_SDK, BUILD_TIMEOUT_SECONDS)
    run([*go, "test", "-count=1", "./..."], GO_SDK, BUILD_TIMEOUT_SECONDS)


def test_typescript_passes_the_vectors(typescript: Path, node_js: str) -> None:
    tests = sorted(str(path) for path in (typescript / "test").glob("*.test.ts"))
    run([node_js, "--test", *tests], typescript, RUN_TIMEOUT_SECONDS, VECTORS=str(VECTORS))


def test_typescript_is_well_typed(typescript: Path, node_js: str) -> None:
    compiler = typescript / "node_modules" / "typescript" / "bin" / "tsc"
    run([node_js, str(compiler), "--noEmit"], typescript, RUN_TIMEOUT_SECONDS)


def place_one_order(node: NodeProcess, command: list[str], cwd: Path, key_path: Path) -> None:
    """Opens an account, gets it funded, places an order, finds it in the account."""
    key = Key.generate()
    key.save(key_path)

    def call(*arguments: str) -> Any:
        return json.loads(run([*command, *arguments], cwd, RUN_TIMEOUT_SECONDS))

    scheme = "http://" if command[-1].endswith(".ts") else ""
    common = [f"--address={scheme}{node.grpc_address}", f"--network={node.network_id}"]
    common.append(f"--key={key_path}")
    account_id = call(*common)["accountId"]
    with node.operator() as operator:
        operator.admin.create_market(MARKET)
    node.fund(account_id, "POLYQUOTE", 10**12)
    placed = call(
        *common,
        f"--account={account_id}",
        f"--market={MARKET.market_id}",
        "--side=BUY",
        f"--price-ticks={PRICE_TICKS}",
        f"--quantity-lots={QUANTITY_LOTS}",
    )
    assert placed["result"]["status"] == "ORDER_STATUS_OPEN"
    with node.client(key, account_id) as dex:
        account = dex.get_account()
        assert [bytes(each) for each in account.public_keys] == [key.public_bytes]
        (order,) = account.open_orders
        assert order.order_id == placed["result"]["orderId"]
        assert (order.price_ticks, order.quantity_lots) == (PRICE_TICKS, QUANTITY_LOTS)
        ended = dex.cancel_order(order_id=order.order_id)
    assert ended.status == OrderStatus.CANCELLED


def test_go_places_a_signed_order(
    shared_node: NodeProcess, go_place_order: list[str], tmp_path: Path
) -> None:
    place_one_order(shared_node, go_place_order, GO_SDK, tmp_path / "key.pem")


def test_typescript_places_a_signed_order(
    shared_node: NodeProcess, typescript: Path, node_js: str, tmp_path: Path
) -> None:
    command = [node_js, str(typescript / "examples" / "place_order.ts")]
    place_one_order(shared_node, command, typescript, tmp_path / "key.pem")

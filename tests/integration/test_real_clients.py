"""Programs no one here wrote: grpcurl and `buf curl`, by reflection, over h2c and mTLS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.certificates import Certificates, ClientPems
from tests.support.node_process import NodeProcess

Tool = Callable[[str], Path]
MARKET = {
    "base_asset": {"asset_id": "CURL", "scale": 8},
    "quote_asset": {"asset_id": "USDT", "scale": 8},
    "quote_atoms_per_tick_lot": "1000",
    "base_atoms_per_lot": "1000",
    "kind": "MARKET_KIND_ORDER_BOOK",
    "market_id": "CURL-USDT",
}
CREDIT = {"account_id": "x", "asset_id": "USDT", "amount_atoms": "1", "reference": "x"}
ADMIN = "dex.admin.v1.Admin"
MATCHING = "dex.matching.v1.Matching"


class Run(NamedTuple):
    """How a program ended."""

    code: int
    output: str

    def json(self) -> Any:
        """Its answer."""
        assert self.code == 0, self.output
        return json.loads(self.output)


def run(*command: str | Path) -> Run:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=60
    )
    return Run(done.returncode, done.stdout if done.returncode == 0 else done.stderr + done.stdout)


class Curl:
    """One of the two programs, at one node, as someone."""

    def __init__(
        self, program: str, path: Path, node: NodeProcess, certificates: Certificates | None
    ) -> None:
        self.program = program
        self.path = path
        self.node = node
        self.certificates = certificates

    def call(
        self, method: str, data: object, header: str = "", client: ClientPems | None = None
    ) -> Run:
        """Call `service/method`."""
        body = json.dumps(data)
        if self.program == "grpcurl":
            options: list[str | Path] = ["-d", body]
            options += ["-H", header] if header else []
            return self._grpcurl([*options], [method], client)
        options = ["--data", body]
        options += ["-H", header] if header else []
        return self._buf(options, f"/{method}", client)

    def services(self) -> list[str]:
        """What reflection lists."""
        if self.program == "grpcurl":
            return self._grpcurl([], ["list"]).output.split()
        return self._buf(["--list-services"], "").output.split()

    def describe(self, symbol: str) -> str:
        """What grpcurl says of a symbol; `buf curl` lists methods."""
        if self.program == "grpcurl":
            return self._grpcurl([], ["describe", symbol]).output
        return self._buf(["--list-methods"], "").output

    def _pems(self, client: ClientPems | None) -> ClientPems:
        assert self.certificates is not None
        return client or self.certificates.stranger

    def _grpcurl(
        self, options: list[str | Path], rest: list[str], client: ClientPems | None = None
    ) -> Run:
        if self.certificates is None:
            options = ["-plaintext", *options]
        else:
            pems = self._pems(client)
            options = ["-cacert", self.certificates.ca, *options]
            options = ["-cert", pems.certificate, "-key", pems.private_key, *options]
        return run(self.path, *options, self.node.grpc_address, *rest)

    def _buf(self, options: list[Any], path: str, client: ClientPems | None = None) -> Run:
        scheme = "http"
        if self.certificates is None:
            options = ["--http2-prior-knowledge", *options]
        else:
            scheme, pems = "https", self._pems(client)
            options = ["--cacert", self.certificates.ca, *options]
            options = ["--cert", pems.certificate, "--key", pems.private_key, *options]
        url = f"{scheme}://{self.node.grpc_address}{path}"
        return run(self.path, "curl", "--protocol=grpc", *options, url)


@pytest.fixture(params=["grpcurl", "buf"])
def program(request: pytest.FixtureRequest, tool: Tool) -> tuple[str, Path]:
    name: str = request.param
    return name, tool("bin/grpcurl") if name == "grpcurl" else Path(sys.executable).with_name("buf")


@pytest.fixture
def plain(program: tuple[str, Path], served: NodeProcess) -> Curl:
    return Curl(*program, served, None)


@pytest.fixture
def secure(program: tuple[str, Path], secured: NodeProcess, certificates: Certificates) -> Curl:
    return Curl(*program, secured, certificates)


def operator_header(node: NodeProcess) -> str:
    """The header that `dex token --operator` prints."""
    done = run(
        *(sys.executable, "-m", "dexnode", "token", "--operator"),
        *("--network-id", node.network_id, "--operator-key", node.operator_key_path),
    )
    assert done.output.startswith("authorization: Dex ")
    return done.output.strip()


def read_as_anyone(curl: Curl) -> None:
    services = curl.services()
    assert {ADMIN, MATCHING, "dex.orders.v1.OrderIntake", "dex.kline.v1.KlineQuery"} <= {*services}
    assert "dex.accounts.v1.Accounts" in services
    described = curl.describe(f"{MATCHING}.GetBook")
    assert "GetBook" in described
    markets = curl.call(f"{MATCHING}/ListMarkets", {}).json()
    (listed,) = [m for m in markets["markets"] if _of(m, "market_id") == "CURL-USDT"]
    assert _of(listed, "tick_size") == "1"
    book = curl.call(f"{MATCHING}/GetBook", {"market_id": "CURL-USDT"}).json()["book"]
    assert _of(book, "market_id") == "CURL-USDT"
    missing = curl.call(f"{MATCHING}/GetBook", {"market_id": "NO-SUCH"})
    assert missing.code != 0
    assert "UNKNOWN_MARKET" in missing.output or "no market" in missing.output


def _of(message: dict[str, Any], name: str) -> Any:
    """A field by its proto name or its JSON name."""
    head, *rest = name.split("_")
    camel = head + "".join(part.title() for part in rest)
    return message[name] if name in message else message[camel]


def operate(curl: Curl, account_id: str, header: str, client: ClientPems | None = None) -> None:
    created = curl.call(f"{ADMIN}/CreateMarket", {"market": MARKET}, header, client).json()
    assert created["market"]["status"] == "MARKET_STATUS_OPEN"
    for status in ("MARKET_STATUS_HALTED", "MARKET_STATUS_OPEN"):
        request = {"market_id": "CURL-USDT", "status": status}
        changed = curl.call(f"{ADMIN}/SetMarketStatus", request, header, client).json()
        assert changed["market"]["status"] == status
    credit = {
        "account_id": account_id,
        "asset_id": "USDT",
        "amount_atoms": "77",
        "reference": f"curl-{account_id}",
    }
    first = curl.call(f"{ADMIN}/CreditAccount", credit, header, client).json()
    assert int(first["applied"]["sequence"]) > 0
    assert curl.call(f"{ADMIN}/CreditAccount", credit, header, client).json() == first


def is_refused(curl: Curl, header: str, reason: str, client: ClientPems | None = None) -> None:
    requests: dict[str, object] = {
        "CreateMarket": {"market": {**MARKET, "maker_fee_ppm": 9}},
        "SetMarketStatus": {"market_id": "CURL-USDT", "status": "MARKET_STATUS_HALTED"},
        "CreditAccount": CREDIT,
    }
    for method, request in requests.items():
        said = curl.call(f"{ADMIN}/{method}", request, header, client)
        assert said.code != 0
        assert reason in said.output.upper().replace("_", "").replace(" ", ""), said.output


def test_over_h2c(plain: Curl) -> None:
    node = plain.node
    key, account_id = node.open_account()
    operate(plain, account_id, operator_header(node))
    read_as_anyone(plain)
    is_refused(plain, "", "UNAUTHENTICATED")
    with node.client(key, account_id) as client:
        ((name, value),) = client._session.authorization()
        assert client.get_account().balances[0].available_atoms == 77
    is_refused(plain, f"{name}: {value}", "PERMISSIONDENIED")


def test_over_mtls(secure: Curl, certificates: Certificates) -> None:
    from dexsdk import Key, SyncClient

    node, key = secure.node, Key.generate()
    with SyncClient(
        node.grpc_address,
        network_id=node.network_id,
        key=key,
        tls=certificates.sdk(certificates.stranger),
    ) as client:
        account_id = client.register_key()
    operate(secure, account_id, "", certificates.operator)
    operate(secure, account_id, operator_header(node))
    read_as_anyone(secure)
    is_refused(secure, "", "UNAUTHENTICATED")

"""What every command shares: where the node is, who calls, how results are printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexcore.limits import is_control
from dexsdk import Client, DexError, Key, SyncClient, Tls, Unavailable
from dexsdk.market import DIGITS_MAX

DEFAULT_ADDRESS: Final = "127.0.0.1:7400"
DEFAULT_NETWORK: Final = "triodex-demo"
DEMO_DATA_DIR: Final = Path("build/demo")
OPERATOR_KEY_NAME: Final = "operator.key"
ENVIRONMENT_HELP: Final = (
    "Every option of a client can come from the environment: DEX_ADDRESS, DEX_FLIGHT_ADDRESS, "
    "DEX_NETWORK_ID, DEX_HOME (where keys are kept, default ~/.triodex), DEX_OPERATOR_KEY, DEX_CA, "
    "DEX_CERTIFICATE, DEX_PRIVATE_KEY. Every command takes --json."
)

Function = TypeVar("Function", bound=Callable[..., Any])
# Piped output is for programs: never cut to a terminal's width.
console = Console(width=None if sys.stdout.isatty() else 200)


@dataclass(frozen=True)
class Target:
    """Which node a command talks to and as whom."""

    address: str
    network_id: str
    home: Path
    operator_key: Path | None
    tls: Tls | None
    as_json: bool
    flight_address: str | None = None

    @property
    def profile(self) -> Path:
        """Folder of this network's key and account id."""
        return self.home / self.network_id

    def client(self, *, signed: bool = True) -> SyncClient:
        """A client of the profile's account, or of nobody."""
        key, account_id = self.credentials() if signed else (None, None)
        return SyncClient(
            self.address,
            network_id=self.network_id,
            key=key,
            account_id=account_id,
            tls=self.tls,
            flight_address=self.flight_address,
        )

    def credentials(self) -> tuple[Key, str]:
        """The profile's key and account id."""
        key_path, account_path = self.profile / "key", self.profile / "account"
        if not key_path.exists() or not account_path.exists():
            raise click.ClickException(
                f"no account for network {self.network_id} in {self.home}: run dex account create"
            )
        return Key.load(key_path), account_path.read_text().strip()

    def operator(self) -> SyncClient:
        """A client that speaks as an operator."""
        return SyncClient(
            self.address, network_id=self.network_id, key=self.load_operator_key(), tls=self.tls
        )

    def async_operator(self) -> Client:
        """The same, on Trio."""
        return Client(
            self.address, network_id=self.network_id, key=self.load_operator_key(), tls=self.tls
        )

    def load_operator_key(self) -> Key | None:
        """The operator's key: as given, else the demo's, else none (mTLS may do)."""
        path = self.operator_key or DEMO_DATA_DIR / OPERATOR_KEY_NAME
        if path.exists():
            return Key.load(path)
        if self.tls is not None and self.tls.certificate is not None:
            return None
        raise click.ClickException(
            f"this needs an operator: no key at {path}. "
            "Give --operator-key, or --certificate and --private-key"
        )


class DecimalParam(click.ParamType[Decimal]):
    """A price, size or amount: a decimal number, not negative. What is wrong is quoted as typed."""

    name = "decimal"

    def __init__(self, *, zero: bool = True) -> None:
        """Without ``zero`` for what is unset as 0 in the contract: a stop of 0 would be none."""
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """The number."""
        try:
            number = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is no decimal number", param, ctx)
        if not number.is_finite():
            self.fail(f"{value!r} is no decimal number", param, ctx)
        if number.adjusted() > DIGITS_MAX:
            self.fail(f"{value} is too large", param, ctx)
        if number < 0:
            self.fail(f"{value} is negative", param, ctx)
        if number == 0 and not self._zero:
            self.fail("0 is no value: leave it out, or give more", param, ctx)
        return number


DECIMAL: Final = DecimalParam()
POSITIVE: Final = DecimalParam(zero=False)


def duration_ns(text: str) -> int | None:
    """How long in nanoseconds: 90s, 15m, 12h, 30d; None for anything else."""
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    number, unit = text[:-1], text[-1:]
    if not (number.isdecimal() and int(number) > 0 and unit in units and len(number) < 6):
        return None
    return int(number) * units[unit] * 10**9


def json_option(function: Function) -> Function:
    """Add ``--json`` as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
        function
    )


PEM_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
TARGET_OPTIONS: Final = (
    click.option("--address", default=DEFAULT_ADDRESS, show_default=True, envvar="DEX_ADDRESS"),
    click.option(
        "--flight-address",
        envvar="DEX_FLIGHT_ADDRESS",
        help="Arrow Flight.  [default: the port after gRPC's]",
    ),
    click.option(
        "--network-id", default=DEFAULT_NETWORK, show_default=True, envvar="DEX_NETWORK_ID"
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path),
        default=lambda: Path.home() / ".triodex",
        envvar="DEX_HOME",
        help="Where keys are kept.  [default: ~/.triodex]",
    ),
    click.option(
        "--operator-key",
        type=click.Path(path_type=Path),
        envvar="DEX_OPERATOR_KEY",
        help="Key file of an operator.  [default: the demo's]",
    ),
    click.option("--ca", type=PEM_FILE, envvar="DEX_CA", help="TLS: CA."),
    click.option("--certificate", type=PEM_FILE, envvar="DEX_CERTIFICATE"),
    click.option("--private-key", type=PEM_FILE, envvar="DEX_PRIVATE_KEY"),
    json_option,
)
TARGET_NAMES: Final = frozenset(
    {
        "address",
        "flight_address",
        "network_id",
        "home",
        "operator_key",
        "ca",
        "certificate",
        "private_key",
        "as_json",
    }
)


def target_options(function: Function) -> Function:
    """Add the options of a client; the command gets a ``target``."""

    @click.pass_context
    def wrapper(ctx: click.Context, /, **values: Any) -> Any:
        rest = {name: value for name, value in values.items() if name not in TARGET_NAMES}
        target = _target(values)
        try:
            return ctx.invoke(function, target, **rest)
        except Unavailable as error:
            if "Connection refused" not in error.message:
                raise
            message = f"no node answers at {target.address}: is it running? (make run)"
            raise Unavailable(error.reason, message, code=error.code) from error

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    # Arguments and options declared below this decorator belong to the command too.
    wrapper.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Any = wrapper
    for option in reversed(TARGET_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _target(values: dict[str, Any]) -> Target:
    tls = None
    if values["ca"] or values["certificate"]:
        tls = Tls(
            ca=values["ca"], certificate=values["certificate"], private_key=values["private_key"]
        )
    return Target(
        values["address"],
        values["network_id"],
        values["home"],
        values["operator_key"],
        tls,
        values["as_json"],
        values["flight_address"],
    )


def print_json(value: Any) -> None:
    """One JSON document on one line."""
    click.echo(json.dumps(_plain(value), separators=(",", ":")))


def printable(text: object, *, keep: str = "") -> str:
    """Text that comes from others, as it may stand on a terminal: controls are shown, not obeyed.

    Control characters but those in ``keep`` become escapes (``\\x1b``).
    """
    return "".join(
        each.encode("unicode_escape").decode() if is_control(each) and each not in keep else each
        for each in str(text)
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; numbers to the right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    lines = [[printable(cell) for cell in row] for row in rows]
    for index, name in enumerate(columns):
        numeric = all(line[index].replace(".", "").lstrip("-").isdigit() for line in lines)
        table.add_column(name, justify="right" if lines and numeric else "left", no_wrap=True)
    for line in lines:
        # As text: in a plain string rich obeys what looks like its markup.
        table.add_row(*map(Text, line))
    console.print(table)


def report_error(error: BaseException, *, as_json: bool) -> None:
    """Say on stderr what went wrong, with its reason and field."""
    if as_json:
        facts = {"error": str(error)}
        if isinstance(error, DexError):
            facts = {
                "reason": error.reason,
                "field": error.field or "",
                "message": error.message,
            }
        sys.stderr.write(json.dumps(facts, separators=(",", ":")) + os.linesep)
        return
    # What a node answers is one line; what is ours may have several.
    keep = "" if isinstance(error, DexError) else "\n"
    sys.stderr.write(f"dex: {printable(error, keep=keep)}{os.linesep}")


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

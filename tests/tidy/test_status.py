"""docs/status.md says of every method of the contract whether it is served: no more, no less."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import dex
import dexnode.services
from dex.options.v1 import options_pb2
from dexnode.services import binding
from dexrpc.method import snake_case

ROOT = Path(__file__).resolve().parents[2]
STATUS = ROOT / "docs" / "status.md"
DRAFT = re.compile(r"\.v\d+(alpha|beta)\d+\.")
RELEASE = re.compile(r"\d+\.\d+\.\d+")


def services() -> Iterator[ServiceDescriptor]:
    """Every service of the generated contract."""
    root = Path(next(iter(dex.__path__)))
    for path in sorted(root.rglob("*_pb2.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        yield from importlib.import_module(name).DESCRIPTOR.services_by_name.values()


def kind(method: MethodDescriptor) -> str:
    """How many messages go each way, in the words of gRPC."""
    return {
        (False, False): "unary",
        (False, True): "server stream",
        (True, False): "client stream",
        (True, True): "both ways",
    }[method.client_streaming, method.server_streaming]


def permission(method: MethodDescriptor) -> str:
    """The permission of the method without its prefix."""
    number = method.GetOptions().Extensions[options_pb2.permission]
    return options_pb2.Permission.Name(number).removeprefix("PERMISSION_")


def contract_rows() -> dict[str, tuple[str, str, str]]:
    """`service/method` -> kind, permission and status, from the contract."""
    return {
        f"{service.full_name}/{method.name}": (
            kind(method),
            permission(method),
            "drafted" if DRAFT.search(service.full_name) else "served",
        )
        for service in services()
        for method in service.methods
    }


def implemented() -> set[str]:
    """`service/method` of everything the node has a handler for."""
    modules = [
        importlib.import_module(f"dexnode.services.{module.name}")
        for module in pkgutil.iter_modules(dexnode.services.__path__)
    ]
    handlers = {name: value for module in modules for name, value in vars(module).items()}
    return {
        f"{service.full_name}/{method.name}"
        for service in binding.SERVED
        for method in service.methods
        if hasattr(handlers[f"{service.name}Service"], snake_case(method.name))
    }


def table_rows() -> dict[str, list[str]]:
    """`service/method` -> the other cells of its row in docs/status.md."""
    rows: dict[str, list[str]] = {}
    service = ""
    for line in STATUS.read_text().splitlines():
        if heading := re.fullmatch(r"#+ `(dex\.[\w.]+)`", line):
            service = heading[1]
        elif service and (row := re.fullmatch(r"\| `(\w+)` \|(.*)\|", line)):
            key = f"{service}/{row[1]}"
            assert key not in rows, f"docs/status.md lists {key} twice"
            rows[key] = [cell.strip() for cell in row[2].split("|")]
    return rows


def test_status_lists_every_method_as_the_contract_has_it() -> None:
    contract, table = contract_rows(), table_rows()
    assert contract, "the generated contract has no methods"
    missing = [f"{key}: | {' | '.join(contract[key])} |" for key in contract if key not in table]
    assert not missing, "docs/status.md lacks these methods:\n" + "\n".join(missing)
    extra = sorted(table.keys() - contract.keys())
    assert not extra, f"docs/status.md lists methods the contract does not have: {extra}"
    wrong = [
        f"{key}: {table[key][:3]} should be {want}"
        for key, want in contract.items()
        if tuple(table[key][:3]) != want
    ]
    assert not wrong, "docs/status.md is wrong:\n" + "\n".join(wrong)


def test_status_names_a_release_for_every_method() -> None:
    wrong = [
        key
        for key, cells in table_rows().items()
        if len(cells) != 4 or not RELEASE.fullmatch(cells[3])
    ]
    assert not wrong, f"docs/status.md: the last cell must be a release such as 0.1.0: {wrong}"


def test_the_node_has_a_handler_for_what_is_served_and_nothing_else() -> None:
    served = {key for key, cells in table_rows().items() if cells[2] == "served"}
    assert served == implemented()

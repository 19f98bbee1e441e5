"""All of the contract that is generated, found rather than listed: a new file is tested at once."""

from __future__ import annotations

import importlib
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

import dex


def files() -> list[FileDescriptor]:
    """Every file of the contract, by name."""
    root = Path(next(iter(dex.__path__)))
    modules = [path.relative_to(root.parent) for path in sorted(root.rglob("*_pb2.py"))]
    assert modules, f"no generated messages in {root}"
    names = [".".join(path.with_suffix("").parts) for path in modules]
    return [importlib.import_module(name).DESCRIPTOR for name in names]


def services() -> list[ServiceDescriptor]:
    """Every service of the contract."""
    return [service for file in files() for service in file.services_by_name.values()]


def request_types() -> list[Descriptor]:
    """Every message a method takes, each once, and what travels inside bytes fields."""
    methods = [method for service in services() for method in service.methods]
    found = {method.input_type.full_name: method.input_type for method in methods}
    inside = {
        "dex.auth.v1.AccessGrant",
        "dex.auth.v1.AccessToken",
        "dex.flight.v1.Query",
        "dex.orders.v1.Payload",
    }
    for file in files():
        for message in file.message_types_by_name.values():
            if message.full_name in inside:
                found[message.full_name] = message
    assert inside <= set(found)
    return [found[name] for name in sorted(found)]

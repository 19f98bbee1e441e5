"""Every term of docs/glossary.md is in the contract, and the contract uses no other word for it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

import dex

GLOSSARY = Path(__file__).resolve().parents[2] / "docs" / "glossary.md"


def files() -> Iterator[FileDescriptor]:
    """Every file of the generated contract."""
    root = Path(next(iter(dex.__path__)))
    for path in sorted(root.rglob("*_pb2.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        yield importlib.import_module(name).DESCRIPTOR


def names() -> set[str]:
    """Full names of messages, enums, values, fields, services and methods."""
    found: set[str] = set()
    for file in files():
        found.update(name for enum in file.enum_types_by_name.values() for name in of_enum(enum))
        for message in file.message_types_by_name.values():
            found.update(of_message(message))
        for service in file.services_by_name.values():
            found.add(service.full_name)
            found.update(method.full_name for method in service.methods)
    return found


def of_enum(enum: EnumDescriptor) -> Iterator[str]:
    """The enum and its values."""
    yield enum.full_name
    yield from (f"{enum.full_name}.{value.name}" for value in enum.values)


def of_message(message: Descriptor) -> Iterator[str]:
    """The message, its fields and oneofs, and what is declared inside it."""
    yield message.full_name
    yield from (field.full_name for field in message.fields)
    yield from (oneof.full_name for oneof in message.oneofs)
    for enum in message.enum_types:
        yield from of_enum(enum)
    for nested in message.nested_types:
        yield from of_message(nested)


def words(name: str) -> str:
    """The last part of a name as lower-case words joined by underscores."""
    last = name.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower()


def terms() -> list[tuple[str, str, list[str]]]:
    """Term, its name in the contract (may be empty), and the words not used for it."""
    rows = []
    for line in GLOSSARY.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 4 or cells[0] == "Term" or set(cells[0]) == {"-"}:
            continue
        rows.append((cells[0], cells[1].strip("`"), [w.strip() for w in cells[2].split(",") if w]))
    return rows


def test_every_term_is_in_the_contract() -> None:
    contract = names()
    short = {name.rpartition(".")[2] for name in contract}
    rows = terms()
    assert len(rows) > 30, "the tables of docs/glossary.md were not read"
    unknown = [
        f"{term}: {name}"
        for term, name, _ in rows
        if name and name not in contract and name not in short
    ]
    assert not unknown, f"docs/glossary.md names what the contract does not have: {unknown}"


def test_the_contract_uses_one_word_per_thing() -> None:
    contract = {name: f"_{words(name)}_" for name in names()}
    wrong = [
        f"{name} says {other!r}, the glossary says {term!r}"
        for term, _, others in terms()
        for other in others
        for name, said in contract.items()
        if f"_{other}_" in said
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_word_is_two_terms() -> None:
    seen: dict[str, str] = {}
    for term, _, others in terms():
        for word in [*term.split(", "), *others]:
            assert word not in seen, f"docs/glossary.md: {word!r} is under {seen[word]} and {term}"
            seen[word] = term

"""Writes a configuration: what `--print-config` shows, and the reference page's table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, structs

from dexnode.config import DEFAULT_SOURCE, LIST_KEY, LoadedConfig
from dexnode.secret import MASK, Secret
from dexnode.settings import NodeConfig


def print_config(loaded: LoadedConfig) -> str:
    """TOML that reads back to the same configuration, secrets apart: they are masked. A comment
    behind each value tells where it came from."""
    lines: list[str] = []
    if not loaded.config.operators:
        lines += [_line(LIST_KEY, [], loaded), ""]
    for name, section in _sections(loaded.config):
        lines.append(f"[{name}]")
        for field in structs.fields(section):
            value = getattr(section, field.name)
            lines.append(_line(f"{name}.{field.name}", value, loaded))
        lines.append("")
    for operator in loaded.config.operators:
        lines.append(f"[[{LIST_KEY}]]  # {loaded.sources[LIST_KEY]}")
        proofs = structs.asdict(operator).items()
        lines += [f"{key} = {_toml(value)}" for key, value in proofs if value is not None]
        lines.append("")
    return "\n".join(lines)


def _sections(config: NodeConfig) -> Iterator[tuple[str, msgspec.Struct]]:
    for name in config.__struct_fields__:
        if name != LIST_KEY:
            yield name, getattr(config, name)


def _line(key: str, value: object, loaded: LoadedConfig) -> str:
    source = loaded.sources.get(key, DEFAULT_SOURCE)
    name = key.rpartition(".")[2]
    if value is None:
        # TOML has no null: a key that is not set is left out.
        return f"# {name} is not set"
    if isinstance(value, Secret):
        return f"# {name} = {_toml(MASK if value else '')}  # {source}"
    return f"{name} = {_toml(value)}  # {source}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str | Path):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped too.
        return json.dumps(str(value)).replace("\x7f", "\\u007f")
    raise TypeError(f"no TOML for {type(value).__name__}")


def config_rows() -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    """(heading, rows of key, type, default, meaning) of every section, for the reference page."""
    for section in structs.fields(NodeConfig):
        made_of = section.type
        heading = f"[{section.name}]"
        if section.name == LIST_KEY:
            list_type = get_args(section.type)[0]
            made_of, heading = get_args(list_type)[0], f"[[{section.name}]]"
        yield f"`{heading}` {made_of.__doc__}", [_row(field) for field in structs.fields(made_of)]


def _row(field: structs.FieldInfo) -> tuple[str, str, str, str]:
    annotated, *metas = get_args(field.type)
    descriptions = [meta.description for meta in metas if meta.description]
    default: Any = field.default
    if default is msgspec.NODEFAULT:
        factory: Any = field.default_factory
        default = "" if factory is not msgspec.NODEFAULT else None
    shown = "not set" if default is None else f"`{_toml(default)}`"
    if field.required:
        shown = "required"
    return f"`{field.name}`", _type_text(annotated, metas), shown, descriptions[-1]


def _type_text(value_type: Any, metas: list[Meta]) -> str:
    origin = get_origin(value_type)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(value_type))
    if origin is tuple:
        return "list of " + _type_text(get_args(value_type)[0], metas)
    if origin is Union or origin is type(int | None):
        return _type_text(get_args(value_type)[0], metas)
    if hasattr(value_type, "__metadata__"):
        return _type_text(value_type.__origin__, [*value_type.__metadata__, *metas])
    names = {str: "text", int: "integer", bool: "true or false", Path: "path", Secret: "secret"}
    text = names[value_type]
    for meta in metas:
        if meta.ge is not None:
            text += f" from {meta.ge}" + (f" to {meta.le}" if meta.le is not None else "")
        if meta.pattern is not None:
            text += f", `{meta.pattern}`"
    return text

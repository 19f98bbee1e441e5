"""Reads the configuration: defaults, then a TOML file, then the environment, then flags.

A later source wins key by key. Everything wrong is reported at once, each line naming the file, the
variable or the flag, the key and the reason. Environment variables are `DEX_<SECTION>__<KEY>`, in
capitals, e.g. `DEX_GRPC__PORT=7500`; `DEX_OPERATORS` takes the list as a TOML value.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from dexnode.secret import Secret
from dexnode.settings import NodeConfig

ENVIRONMENT_PREFIX: Final = "DEX_"
DEFAULT_SOURCE: Final = "default"
LIST_KEY: Final = "operators"
LISTENERS: Final = ("grpc", "flight", "metrics")

_SECTIONS: Final[dict[str, type[msgspec.Struct]]] = {
    section.name: section.type for section in structs.fields(NodeConfig) if section.name != LIST_KEY
}


class ConfigError(Exception):
    """The configuration cannot be used; the message has a line per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LoadedConfig(NamedTuple):
    """A valid configuration and where each value came from."""

    config: NodeConfig
    sources: Mapping[str, str]
    """`grpc.port` -> `environment DEX_GRPC__PORT`. Keys left out have their default."""


class _Given(NamedTuple):
    key: str
    value: object
    source: str


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> LoadedConfig:
    """The configuration of a node.

    `environment` is usually `os.environ`; `overrides` maps keys such as `grpc.port` to what flags
    say. Raises ConfigError naming everything that is wrong, unknown keys included.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    for source in (
        _from_file(file, problems) if file is not None else (),
        _from_environment(environment or {}, problems),
        (_Given(key, value, f"flag {key}") for key, value in (overrides or {}).items()),
    ):
        for item in source:
            given[item.key] = item
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    operators: Any = ()
    for item in given.values():
        try:
            value = _convert(item)
        except ValueError as error:
            problems.append(f"{item.source}: {item.key}: {error}")
            continue
        section, _, key = item.key.partition(".")
        if item.key == LIST_KEY:
            operators = value
        else:
            sections[section][key] = value
    if problems:
        raise ConfigError(problems)
    made: dict[str, Any] = {name: made_of(**sections[name]) for name, made_of in _SECTIONS.items()}
    config = NodeConfig(**made, operators=operators)
    sources = {item.key: item.source for item in given.values()}
    problems.extend(_contradictions(config, sources))
    if problems:
        raise ConfigError(problems)
    return LoadedConfig(config, sources)


def _from_file(file: Path, problems: list[str]) -> Iterator[_Given]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{file}: {error}")
        return
    for section, content in document.items():
        if section == LIST_KEY or not isinstance(content, dict):
            yield _Given(section, content, str(file))
            continue
        for key, value in content.items():
            yield _Given(f"{section}.{key}", value, str(file))


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    for variable, text in sorted(environment.items()):
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name == variable.lower():
            continue
        section, separator, key = name.partition("__")
        source = f"environment {variable}"
        if name == LIST_KEY:
            try:
                yield _Given(LIST_KEY, tomllib.loads(f"value = {text}")["value"], source)
            except tomllib.TOMLDecodeError as error:
                problems.append(f"{source}: {LIST_KEY}: not a TOML value: {error}")
        elif separator:
            yield _Given(f"{section}.{key}", text, source)
        elif name.partition("_")[0] in _SECTIONS:
            # DEX_GRPC_PORT would be ignored in silence: the commonest slip.
            problems.append(f"{source}: two underscores part section and key: DEX_SECTION__KEY")


def _convert(item: _Given) -> Any:
    """The value in its setting's type. Raises ValueError with the reason."""
    value_type = _type_of(item.key)
    # The environment and flags have text only; a TOML file has types, and "7400" is no port there.
    is_text = isinstance(item.value, str) and item.source.startswith(("environment ", "flag "))
    try:
        return msgspec.convert(item.value, value_type, strict=not is_text, dec_hook=_decode)
    except msgspec.ValidationError as error:
        text = str(error).replace(" - at `$", " - at `" + item.key)
        raise ValueError(text) from None


def _type_of(key: str) -> Any:
    section, _, name = key.partition(".")
    if key == LIST_KEY:
        fields, wanted = structs.fields(NodeConfig), LIST_KEY
    elif section in _SECTIONS and name:
        fields, wanted = structs.fields(_SECTIONS[section]), name
    else:
        raise ValueError(f"no such section; there are {', '.join((*_SECTIONS, LIST_KEY))}")
    for field in fields:
        if field.name == wanted:
            return field.type
    known = ", ".join(field.name for field in fields)
    raise ValueError(f"no such key; [{section}] has {known}")


def _decode(wanted: type, value: Any) -> Any:
    if wanted in {Path, Secret} and isinstance(value, str):
        return wanted(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def _contradictions(config: NodeConfig, sources: Mapping[str, str]) -> Iterator[str]:
    tls = config.tls
    if (tls.certificate is None) != (tls.private_key is None):
        yield "tls: certificate and private_key go together"
    if tls.client_ca is not None and tls.certificate is None:
        yield "tls: client_ca needs a certificate and a private_key"
    if tls.revocation_list is not None and tls.client_ca is None:
        yield "tls: revocation_list needs a client_ca, which signs it"
    if tls.revocation_list is not None and config.grpc.backend == "aio":
        yield "tls: revocation_list is not checked by the aio backend: set grpc.backend to trio"
    for name in LISTENERS:
        host = getattr(config, name).host
        if tls.certificate is None and not is_loopback(host):
            source = sources.get(f"{name}.host", DEFAULT_SOURCE)
            yield (
                f"{source}: {name}.host: {host} is not a loopback address, and what it serves "
                "would travel in the clear: set tls.certificate and tls.private_key, or listen on "
                "127.0.0.1"
            )
    for operator in config.operators:
        source = sources[LIST_KEY]
        if (operator.public_key is None) == (operator.certificate_name is None):
            yield (
                f"{source}: operators: {operator.name} has either a public_key or a "
                "certificate_name"
            )
        if operator.certificate_name is not None and tls.client_ca is None:
            yield (
                f"{source}: operators: {operator.name} is told by a certificate, and no "
                "tls.client_ca says who signs them"
            )
    names = [operator.name for operator in config.operators]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{sources[LIST_KEY]}: operators: {name} is there twice"


def is_loopback(host: str) -> bool:
    """Whether listening on `host` is reachable from this machine alone. A name other than localhost
    may resolve to anything, so it does not count."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

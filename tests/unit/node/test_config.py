"""Four sources, one configuration; whatever is wrong is named with its source."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec import structs

from dexnode import config as config_module
from dexnode.config import ConfigError, LoadedConfig, is_loopback, load_config
from dexnode.config_text import print_config
from dexnode.settings import NodeConfig

KEY = "ab" * 32


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_file(text: str) -> Path:
        path = tmp_path / "node.toml"
        path.write_text(text)
        return path

    return write_file


def problems(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment, overrides)
    assert str(caught.value).splitlines() == caught.value.problems
    return caught.value.problems


def test_the_defaults_are_a_valid_node_on_loopback() -> None:
    loaded = load_config()
    config = loaded.config
    assert config == NodeConfig()
    assert (config.grpc.port, config.flight.port, config.metrics.port) == (7400, 7401, 7402)
    assert {config.grpc.host, config.flight.host, config.metrics.host} == {"127.0.0.1"}
    assert config.operators == ()
    assert loaded.sources == {}


def test_a_later_source_wins_key_by_key(write: Callable[[str], Path]) -> None:
    file = write('[grpc]\nhost = "::1"\nport = 1\nbackend = "aio"\n[node]\nshard = 7\n')
    environment = {"DEX_GRPC__PORT": "2", "DEX_GRPC__BACKEND": "trio", "PATH": "/bin"}
    loaded = load_config(file, environment, {"grpc.port": "3"})
    grpc = loaded.config.grpc
    assert (grpc.host, grpc.port, grpc.backend) == ("::1", 3, "trio")
    assert loaded.config.node.shard == 7
    assert loaded.sources == {
        "grpc.host": str(file),
        "grpc.port": "flag grpc.port",
        "grpc.backend": "environment DEX_GRPC__BACKEND",
        "node.shard": str(file),
    }


def test_every_type_reads_from_text(tmp_path: Path) -> None:
    config = load_config(
        None,
        {
            "DEX_NODE__DATA_DIR": str(tmp_path),
            "DEX_DEMO__ENABLED": "true",
            "DEX_TELEMETRY__OTLP_HEADERS": "authorization=open sesame",
            "DEX_OPERATORS": f'[{{name = "desk", public_key = "{KEY}"}}]',
        },
    ).config
    assert config.node.data_dir == tmp_path
    assert config.demo.enabled is True
    assert config.telemetry.otlp_headers.reveal() == "authorization=open sesame"
    assert [(o.name, o.public_key) for o in config.operators] == [("desk", KEY)]


def test_everything_wrong_is_said_at_once_with_its_source(write: Callable[[str], Path]) -> None:
    file = write('[grpc]\nport = "7400"\nprt = 1\n[grcp]\nport = 1\n[node]\nshard = 256\n')
    found = problems(
        file,
        {"DEX_GRPC__BACKEND": "tokio", "DEX_FLIGHT__TYPO": "1", "DEX_GRPC_HOST": "x"},
        {"metrics.port": 65536},
    )
    expected = {
        f"{file}: grpc.port": "Expected `int`, got `str`",
        f"{file}: grpc.prt": "no such key; [grpc] has host, port, backend",
        f"{file}: grcp.port": "no such section; there are node, grpc",
        f"{file}: node.shard": "<= 255",
        "environment DEX_GRPC__BACKEND: grpc.backend": "Invalid enum value 'tokio'",
        "environment DEX_FLIGHT__TYPO: flight.typo": "no such key",
        "environment DEX_GRPC_HOST": "two underscores",
        "flag metrics.port: metrics.port": "<= 65535",
    }
    assert len(found) == len(expected)
    for start, reason in expected.items():
        [line] = [line for line in found if line.startswith(start)]
        assert reason in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[grpc\n", "Expected ']'"),
        ("port = 7400\n", "no such section"),
        ("grpc = 3\n", "no such section"),
        ("operators = 3\n", "Expected `array`, got `int`"),
        ("[[operators]]\n", "missing required field `name` - at `operators[0]`"),
        ('[[operators]]\nname = "x"\nkey = "y"\n', "unknown field `key` - at `operators[0]`"),
        ('[[operators]]\nname = "x"\npublic_key = "yz"\n', "at `operators[0].public_key`"),
        ('[[operators]]\nname = "x"\n', "either a public_key or a certificate_name"),
        ('[[operators]]\nname = "x"\ncertificate_name = "y"\n', "no tls.client_ca"),
        (f'[[operators]]\nname = "x"\npublic_key = "{KEY}"\n' * 2, "x is there twice"),
        ('[tls]\ncertificate = "c.pem"\n', "certificate and private_key go together"),
        ('[tls]\nclient_ca = "c.pem"\n', "needs a certificate"),
        ('[telemetry]\notlp_endpoint = "http://user:word@host"\n', "matching regex"),
        ("[telemetry]\notlp_headers = 3\n", "Expected `str`, got `int`"),
    ],
)
def test_a_bad_file_says_why(write: Callable[[str], Path], text: str, reason: str) -> None:
    found = problems(write(text))
    assert len(found) == 1
    assert reason in found[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    [line] = problems(tmp_path / "none.toml")
    assert "none.toml" in line


@pytest.mark.parametrize("section", ["grpc", "flight", "metrics"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
def test_beyond_loopback_asks_for_tls(section: str, host: str) -> None:
    variable = f"DEX_{section.upper()}__HOST"
    [line] = problems(environment={variable: host})
    assert line.startswith(f"environment {variable}: {section}.host: {host} is not a loopback")
    tls = {"tls.certificate": "c.pem", "tls.private_key": "k.pem"}
    assert load_config(None, {variable: host}, tls).config.tls.certificate == Path("c.pem")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("128.0.0.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def full(write: Callable[[str], Path]) -> LoadedConfig:
    file = write(
        '[node]\ndata_dir = "/var/lib/\\"dex\\" \\u007f"\n'
        '[tls]\ncertificate = "c.pem"\nprivate_key = "k.pem"\nclient_ca = "ca.pem"\n'
        f'[[operators]]\nname = "desk"\npublic_key = "{KEY}"\n'
        '[[operators]]\nname = "machine"\ncertificate_name = "ops.example"\n'
    )
    return load_config(file, {"DEX_TELEMETRY__OTLP_HEADERS": "authorization=open sesame"})


def test_the_printed_configuration_reads_back(write: Callable[[str], Path]) -> None:
    loaded = full(write)
    again = load_config(write(print_config(loaded))).config
    plain = structs.replace(again.telemetry, otlp_headers=loaded.config.telemetry.otlp_headers)
    assert structs.replace(again, telemetry=plain) == loaded.config
    assert tomllib.loads(print_config(load_config()))["operators"] == []
    assert load_config(write(print_config(load_config()))).config == NodeConfig()


def test_the_printed_configuration_names_sources_and_hides_secrets(
    write: Callable[[str], Path],
) -> None:
    text = print_config(full(write))
    lines = text.splitlines()
    assert "port = 7400  # default" in lines
    assert any(line.startswith("certificate = ") and "node.toml" in line for line in lines)
    assert '# otlp_headers = "********"  # environment DEX_TELEMETRY__OTLP_HEADERS' in lines
    assert "sesame" not in text
    assert "sesame" not in repr(full(write))


def test_every_setting_is_read_by_the_node() -> None:
    package = Path(config_module.__file__).parent
    writers = {"settings.py", "config.py", "config_text.py", "reference.py"}
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name not in writers)
    keys = {
        field.name
        for section in structs.fields(NodeConfig)
        if section.name != "operators"
        for field in structs.fields(section.type)
    }
    unread = sorted(key for key in keys if not re.search(rf"\.{key}\b", code))
    assert unread == [], "a setting that nothing reads promises what the node does not do"

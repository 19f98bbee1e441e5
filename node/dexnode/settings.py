"""Every setting of a node: name, type, range, default and meaning.

The classes are the one list: the TOML file, the environment, flags, `--print-config` and
docs/reference/config.md are all read off them (dexnode.config). Units are in the names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dexnode.secret import Secret

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]


class NodeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node is."""

    network_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            pattern="^[a-z0-9-]+$",
            description="The network it serves; payloads and tokens for another are refused.",
        ),
    ] = "triodex-demo"
    data_dir: Annotated[
        Path, Meta(description="Folder of the journal, the snapshots and everything derived.")
    ] = Path("data")
    shard: Annotated[
        int, Meta(ge=0, le=255, description="The shard, the first part of its ids.")
    ] = 0


class GrpcSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gRPC server."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 7400
    backend: Annotated[
        Literal["trio", "aio"],
        Meta(description="`trio`: dexrpc, the node's own server. `aio`: grpcio's."),
    ] = "trio"
    message_bytes_max: Annotated[
        Positive, Meta(description="Largest request message. Over it: MESSAGE_TOO_LARGE.")
    ] = 4 * 1024 * 1024
    connections_max: Annotated[
        Positive, Meta(description="Connections at once; one more is closed at once.")
    ] = 20_000
    connections_per_address_max: Annotated[
        Positive, Meta(description="The same from one address.")
    ] = 15_000
    streams_max: Annotated[Positive, Meta(description="Calls at once on one connection.")] = 1000


class FlightSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Arrow Flight server."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 7401


class MetricsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server of /metrics, /healthz and /readyz."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 7402


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate of every listener. Listening beyond loopback asks for one."""

    certificate: Annotated[
        Path | None, Meta(description="PEM file: the certificate and its chain.")
    ] = None
    private_key: Annotated[Path | None, Meta(description="PEM file: the certificate's key.")] = None
    client_ca: Annotated[
        Path | None,
        Meta(
            description="PEM file: who signs client certificates; operators are told by the names "
            "in theirs."
        ),
    ] = None
    revocation_list: Annotated[
        Path | None,
        Meta(
            description="PEM file: client certificates that count no more (CRL, RFC 5280). Needs "
            "`client_ca` and the trio backend. Flight cannot check it, and asks for an access "
            "token beside the certificate then."
        ),
    ] = None


class TelemetrySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logs, and where metrics and traces are pushed."""

    otlp_endpoint: Annotated[
        str,
        Meta(
            pattern="^(https?://[^@]+)?$",
            description="OTLP/gRPC collector, e.g. `http://127.0.0.1:4317`. Empty: nothing is "
            "pushed and nothing is traced.",
        ),
    ] = ""
    otlp_headers: Annotated[
        Secret, Meta(description="Headers for the collector: `key=value,key=value`.")
    ] = field(default_factory=lambda: Secret(""))
    otlp_interval_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="How often metrics are pushed.")
    ] = 15
    trace_ratio_ppm: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Share of calls traced, in parts per million, when the caller has not "
            "decided (W3C traceparent).",
        ),
    ] = 10_000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="`auto`: console on a terminal, one JSON object a line elsewhere."),
    ] = "auto"


class OperatorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Someone who may call operator methods: a name and one of two proofs."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="For logs.")]
    public_key: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None,
        Meta(description="Ed25519 public key in hex: its access tokens are the operator's."),
    ] = None
    certificate_name: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="A name in a client certificate signed by `tls.client_ca`."),
    ] = None
    roles: Annotated[
        tuple[Literal["markets", "funds", "node", "auditor"], ...],
        Meta(
            description="What it may do beside reading the node's status: `markets` (open, close, "
            "fees, recorded trades), `funds` (deposits, withdrawals; reads accounts), `node` "
            "(snapshot, drain), `auditor` (the audit log; reads accounts). Without the key: all.",
        ),
    ] = ("markets", "funds", "node", "auditor")


class JournalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The journal."""

    segment_bytes: Annotated[
        int, Meta(ge=1 << 20, le=1 << 32, description="Size of a preallocated segment file.")
    ] = 64 << 20
    retention: Annotated[
        Literal["all", "covered"],
        Meta(
            description="`all`: every segment is kept. `covered`: after each snapshot, segments go "
            "that the older of the two kept snapshots covers and every derived store has applied. "
            "A replay from the first command is then to be had from a backup alone."
        ),
    ] = "all"


class SnapshotSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Snapshots."""

    interval_commands: Annotated[
        int, Meta(ge=0, description="Commands from one snapshot to the next; 0: only when asked.")
    ] = 1_000_000


class AuditSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The audit log: a Merkle tree over the journal and its signed heads."""

    head_interval_ms: Annotated[
        int,
        Meta(
            ge=10,
            le=3_600_000,
            description="How often a head is signed, if the journal grew; milliseconds.",
        ),
    ] = 1_000


PerSecond = Annotated[int, Meta(ge=0, le=10**9)]
PerMinute = Annotated[int, Meta(ge=0, le=10**9)]


class LimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much anyone may ask, and how much the node takes at once. docs/limits.md has them all."""

    account_orders_per_second: Annotated[
        PerSecond, Meta(description="Orders and amends of an account, counted in items. 0: off.")
    ] = 20_000
    account_cancels_per_second: Annotated[
        PerSecond,
        Meta(description="Cancels of an account, a budget of their own. 0: off."),
    ] = 20_000
    account_reads_per_second: Annotated[
        PerSecond, Meta(description="Calls of an account that read it. 0: off.")
    ] = 5_000
    key_orders_per_second: Annotated[
        PerSecond, Meta(description="The same of one key of the account. 0: off.")
    ] = 20_000
    key_cancels_per_second: Annotated[
        PerSecond, Meta(description="The same of one key of the account. 0: off.")
    ] = 20_000
    key_reads_per_second: Annotated[
        PerSecond, Meta(description="The same of one key of the account. 0: off.")
    ] = 5_000
    connection_reads_per_second: Annotated[
        PerSecond,
        Meta(
            description="Public calls on one connection, and accounts opened on it; streams count "
            "when they begin. 0: off."
        ),
    ] = 5_000
    connection_accounts_per_minute: Annotated[
        PerMinute, Meta(description="Accounts opened on one connection. 0: off.")
    ] = 120
    accounts_per_minute: Annotated[
        PerMinute,
        Meta(description="Accounts opened in all: they are kept for good. 0: off."),
    ] = 1_200
    burst_seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=3600,
            description="A budget holds what is refilled in this many seconds; those of orders and "
            "cancels at least the 1,000 items of the largest batch.",
        ),
    ] = 2
    bad_signatures_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Signatures and tokens on one connection that do not verify; one more "
            "starts its cool-down. 0: off.",
        ),
    ] = 120
    cool_down_seconds: Annotated[
        Positive,
        Meta(description="How long such a connection is answered with COOLING_DOWN, unlooked at."),
    ] = 10
    calls_in_flight_max: Annotated[
        Positive,
        Meta(
            description="Unary calls that may wait for the node at once, half of it on one "
            "connection; cancels may take a quarter more. Beyond: OVERLOADED."
        ),
    ] = 512
    subscribers_max: Annotated[
        Positive, Meta(description="Streams of market data at once. Beyond: OVERLOADED.")
    ] = 20_000
    subscribers_per_connection_max: Annotated[
        Positive, Meta(description="The same on one connection.")
    ] = 500
    sessions_max: Annotated[
        Positive,
        Meta(
            description="Streams that are no market data at once: order streams, health watches, "
            "reflection. Beyond: OVERLOADED."
        ),
    ] = 20_000
    sessions_per_connection_max: Annotated[
        Positive, Meta(description="The same on one connection.")
    ] = 100
    operator_calls_max: Annotated[
        Positive,
        Meta(
            description="Calls of operator methods at once. Half of it is kept for connections on "
            "which an operator has proven itself; any other gets an eighth. Beyond: OVERLOADED."
        ),
    ] = 128
    memory_bytes_max: Annotated[
        int,
        Meta(
            ge=0,
            description="Resident memory from which on the node takes no new work but cancels. "
            "0: nine tenths of what the machine or the container has.",
        ),
    ] = 0


class DemoSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The demo market, a simulation: seeded bots that trade over gRPC like anyone else."""

    enabled: Annotated[
        bool, Meta(description="Set by `dex demo`: the node's status says that it is a simulation.")
    ] = False


class NodeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration, by section."""

    node: NodeSettings = NodeSettings()
    grpc: GrpcSettings = GrpcSettings()
    flight: FlightSettings = FlightSettings()
    metrics: MetricsSettings = MetricsSettings()
    tls: TlsSettings = TlsSettings()
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    journal: JournalSettings = JournalSettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    audit: AuditSettings = AuditSettings()
    limits: LimitSettings = LimitSettings()
    demo: DemoSettings = DemoSettings()
    operators: Annotated[
        tuple[OperatorSettings, ...],
        Meta(description="Who may call operator methods. There is none by default."),
    ] = ()

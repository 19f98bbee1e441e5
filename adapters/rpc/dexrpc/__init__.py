"""gRPC on Trio: an own server over the sans-IO h2 library, and grpc.aio as a second backend.

Handlers are transport-free coroutines; see `dexrpc.method` for their shapes and
docs/reference/rpc.md for the whole of it. This package knows nothing of exchanges.
"""

from __future__ import annotations

from dexrpc.config import ServerConfig
from dexrpc.context import CallContext, Interceptor, Peer, Receiver, Sender, SendStalled
from dexrpc.gate import Gate
from dexrpc.health import HealthService
from dexrpc.listener import Listener, open_listener
from dexrpc.metadata import Metadata, MetadataView
from dexrpc.method import Method, MethodKind, bind_service
from dexrpc.observer import RpcObserver
from dexrpc.reflection import reflection_methods
from dexrpc.server import Server
from dexrpc.status import RpcError, StatusCode
from dexrpc.tls import server_ssl_context

__all__ = [
    "CallContext",
    "Gate",
    "HealthService",
    "Interceptor",
    "Listener",
    "Metadata",
    "MetadataView",
    "Method",
    "MethodKind",
    "Peer",
    "Receiver",
    "RpcError",
    "RpcObserver",
    "SendStalled",
    "Sender",
    "Server",
    "ServerConfig",
    "StatusCode",
    "bind_service",
    "open_listener",
    "reflection_methods",
    "server_ssl_context",
]

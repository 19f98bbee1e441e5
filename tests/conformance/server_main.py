"""The server under test, as its own process.

    python -m tests.conformance.server_main BACKEND INTEROP_DESCRIPTORS [CERTIFICATE KEY CLIENT_CA]

Prints its port, serves until SIGTERM, then drains. CLIENT_CA may be `-`: TLS without client
certificates.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import trio
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import Default
from grpc_health.v1 import health_pb2

import dexrpc
from dexrpc.aio_backend import AioServer, Endpoint, run_with_aio
from dexrpc.codec import Codec
from dexrpc.framecodec import FrameCodec
from dexrpc.h2codec import H2Codec

DRAIN_SECONDS = 10.0
CODECS: dict[str, type[Codec]] = {"dexrpc": FrameCodec, "dexrpc-h2": H2Codec}


def _methods(probe_methods: list[dexrpc.Method]) -> list[dexrpc.Method]:
    from tests.conformance.interop_service import interop_methods

    health = dexrpc.HealthService()
    health.set("dexrpc.test.Probe", health_pb2.HealthCheckResponse.NOT_SERVING)
    services = ["grpc.testing.TestService", "grpc.health.v1.Health"]
    return [
        *probe_methods,
        *interop_methods(),
        *health.methods,
        *dexrpc.reflection_methods(services, Default()),
    ]


async def _drain_on_sigterm(server: dexrpc.Server | AioServer) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            await server.drain(DRAIN_SECONDS)
            return


async def _serve(backend: str, tls: list[str]) -> None:
    from tests.conformance.probe_service import Probe

    probe = Probe()
    methods, interceptors = _methods(probe.methods()), [probe.intercept]
    client_ca = tls[2] if tls and tls[2] != "-" else None
    async with trio.open_nursery() as nursery:
        if backend in CODECS:
            config = dexrpc.ServerConfig(codec=CODECS[backend], handshake_timeout=3.0)
            server = dexrpc.Server(methods, interceptors=interceptors, config=config)
            context = dexrpc.server_ssl_context(tls[0], tls[1], client_ca) if tls else None
            listener = await dexrpc.open_listener("127.0.0.1", 0, ssl_context=context)
            await nursery.start(server.serve, [listener])
            port = listener.port
            nursery.start_soon(_drain_on_sigterm, server)
        else:
            aio = AioServer(methods, interceptors=interceptors)
            endpoint = Endpoint("127.0.0.1", 0)
            if tls:
                ca = Path(client_ca) if client_ca else None
                endpoint = Endpoint("127.0.0.1", 0, Path(tls[0]), Path(tls[1]), ca)
            (port,) = await nursery.start(aio.serve, [endpoint])
            nursery.start_soon(_drain_on_sigterm, aio)
        print(port, flush=True)


def main() -> None:
    """Load the interop descriptors, then serve."""
    logging.basicConfig(level=logging.INFO)
    backend, descriptors, *tls = sys.argv[1:]
    for file in FileDescriptorSet.FromString(Path(descriptors).read_bytes()).file:
        Default().AddSerializedFile(file.SerializeToString())
    if backend in CODECS:
        trio.run(_serve, backend, tls)
    else:
        run_with_aio(_serve, backend, tls)


if __name__ == "__main__":
    main()

"""Health and reflection, by the stock libraries' clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.conformance.clients import DEADLINE_SECONDS

Health: Any = health_pb2


def test_health_check(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    serving = stub.Check(Health.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
    assert serving.status == Health.HealthCheckResponse.SERVING
    probe = stub.Check(Health.HealthCheckRequest(service="dexrpc.test.Probe"))
    assert probe.status == Health.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(Health.HealthCheckRequest(service="no.such"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_watch(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    known = stub.Watch(Health.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
    unknown = stub.Watch(Health.HealthCheckRequest(service="no.such"), timeout=DEADLINE_SECONDS)
    assert next(known).status == Health.HealthCheckResponse.SERVING
    assert next(unknown).status == Health.HealthCheckResponse.SERVICE_UNKNOWN
    known.cancel()
    unknown.cancel()


def test_reflection_by_the_stock_client(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.testing.TestService",
    }
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("grpc.testing.TestService").methods_by_name["UnaryCall"]
    assert method.input_type.full_name == "grpc.testing.SimpleRequest"
    (stable,) = pool.FindServiceByName("grpc.reflection.v1.ServerReflection").methods
    assert stable.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_requests(channel: grpc.Channel, version: str) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="interop.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"),
        reflection_pb2.ServerReflectionRequest(
            all_extension_numbers_of_type="grpc.testing.SimpleRequest"
        ),
        reflection_pb2.ServerReflectionRequest(),
    ]

    def serialized() -> Iterator[bytes]:
        return (request.SerializeToString() for request in requests)

    info: Any = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers = list(info(serialized(), timeout=DEADLINE_SECONDS))
    kinds = [answer.WhichOneof("message_response") for answer in answers]
    assert kinds == [
        "list_services_response",
        "file_descriptor_response",
        "error_response",
        "all_extension_numbers_response",
        "error_response",
    ]
    assert [answer.original_request for answer in answers] == requests
    assert answers[2].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]

"""All services of the node as methods of dexrpc, with the contract's rules in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.audit.v1 import audit_pb2
from dex.kline.v1 import kline_query_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2
from dex.pools.v1 import pools_pb2
from dexnode.validation import Validator
from dexrpc import Method, bind_service

ORDER_INTAKE: Final = order_intake_pb2.DESCRIPTOR.services_by_name["OrderIntake"]
MATCHING: Final = matching_pb2.DESCRIPTOR.services_by_name["Matching"]
POOLS: Final = pools_pb2.DESCRIPTOR.services_by_name["Pools"]
KLINE_QUERY: Final = kline_query_pb2.DESCRIPTOR.services_by_name["KlineQuery"]
ACCOUNTS: Final = accounts_pb2.DESCRIPTOR.services_by_name["Accounts"]
ADMIN: Final = admin_pb2.DESCRIPTOR.services_by_name["Admin"]
AUDIT: Final = audit_pb2.DESCRIPTOR.services_by_name["Audit"]

SERVED: Final[Sequence[ServiceDescriptor]] = (
    ORDER_INTAKE,
    MATCHING,
    POOLS,
    KLINE_QUERY,
    ACCOUNTS,
    ADMIN,
    AUDIT,
)

# An order stream answers a bad envelope with a rejection and goes on, so it
# parses its own requests.
RAW: Final = {ORDER_INTAKE.full_name: ("OrderStream",)}


def bind_all(servicers: dict[str, object], validator: Validator) -> list[Method]:
    """Methods of every served service; ``servicers`` by full service name.

    A request that breaks a rule of the contract never reaches its handler.
    """
    methods: list[Method] = []
    for service in SERVED:
        raw = RAW.get(service.full_name, ())
        for method in bind_service(service, servicers[service.full_name], raw):
            if method.path.rpartition("/")[2] not in raw:
                method.parse = _checked(method.parse, validator)
            methods.append(method)
    return methods


def _checked(parse: Callable[[bytes], Any], validator: Validator) -> Callable[[bytes], Any]:
    check = validator.check

    def parse_and_check(data: bytes) -> Any:
        message = parse(data)
        check(message)
        return message

    return parse_and_check

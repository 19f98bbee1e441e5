"""Every method of the contract with every kind of caller, against the checked-in matrix."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from nacl.signing import SigningKey

from dex.options.v1 import options_pb2
from dexnode import authz
from dexnode.authz import Authorizer, Identity, IdentityKind, PermissionTable
from dexnode.errors import error_info
from dexnode.tokens import CACHED_TOKENS_MAX, TokenVerifier
from dexrpc import CallContext, RpcError
from tests.unit.node import contract

NETWORK = "triodex-test"
NOW_NS = 1_790_000_000_000_000_000
HOUR_NS = 3600 * 10**9

TRADER, STRANGER, OPERATOR = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
ACCOUNT_ID = "0000010000000000001000"
TABLE = PermissionTable.from_services(contract.services())
MATRIX = tomllib.loads(Path(__file__).with_name("authz_matrix.toml").read_text())


@dataclass(frozen=True)
class Operator:
    name: str
    public_key: str | None = None
    certificate_name: str | None = None


OPERATORS = [
    Operator("desk", public_key=bytes(OPERATOR.verify_key).hex()),
    Operator("machine", certificate_name="ops.example"),
]


def authorizer(clock_ns: Callable[[], int] = lambda: NOW_NS) -> Authorizer:
    accounts = {bytes(TRADER.verify_key): ACCOUNT_ID}
    return Authorizer(TABLE, TokenVerifier(NETWORK, clock_ns), OPERATORS, accounts.get)


@pytest.fixture
def callers(sign_token: Callable[..., str]) -> dict[str, dict[str, Any]]:
    """What each kind of caller of the matrix sends."""
    good = sign_token(TRADER)
    middle = len(good) // 2
    forged = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    payload_prefix = b"triodex.payload.v1\0"
    return {
        "anonymous": {},
        "account": {"authorization": (good,)},
        "key_without_account": {"authorization": (sign_token(STRANGER),)},
        "operator_key": {"authorization": (sign_token(OPERATOR),)},
        "operator_certificate": {"certificate_names": ("other.example", "ops.example")},
        "stranger_certificate": {"certificate_names": ("other.example", "desk", "OPS.example")},
        "expired_token": {"authorization": (sign_token(OPERATOR, NOW_NS),)},
        "token_too_far_ahead": {"authorization": (sign_token(OPERATOR, NOW_NS + HOUR_NS + 1),)},
        "token_of_other_network": {
            "authorization": (sign_token(OPERATOR, network_id="triodex-main"),)
        },
        "forged_token": {"authorization": (forged,)},
        "payload_signature_as_token": {
            "authorization": (sign_token(OPERATOR, prefix=payload_prefix),)
        },
        "garbage_token": {"authorization": ("Dex !!!",)},
        "two_tokens": {"authorization": (good, sign_token(OPERATOR))},
        "other_scheme": {"authorization": ("Bearer " + sign_token(OPERATOR).split()[1],)},
    }


async def call(context: CallContext, gate: Authorizer) -> str:
    """ "allow", or the reason of the refusal."""
    ran: list[Identity] = []

    async def call_next() -> None:
        ran.append(context.state["identity"])

    try:
        await gate(context, call_next)
    except RpcError as error:
        info = error_info(error)
        assert info is not None
        assert not ran
        return str(info.reason)
    assert len(ran) == 1
    return "allow"


def test_the_matrix_names_every_method_and_no_other() -> None:
    assert sorted(MATRIX["methods"]) == TABLE.paths(), (
        "decide who may call the new method and add its line to authz_matrix.toml"
    )


@pytest.mark.parametrize("path", sorted(MATRIX["methods"]))
async def test_every_kind_of_caller_fares_as_the_matrix_says(
    path: str,
    callers: dict[str, dict[str, Any]],
    make_context: Callable[..., CallContext],
) -> None:
    expected = MATRIX["outcomes"][MATRIX["methods"][path]]
    assert sorted(expected) == sorted(callers)
    gate = authorizer()
    for name, sent in callers.items():
        # Twice: the second time a good token comes from the cache.
        for _ in range(2):
            assert await call(make_context(path, **sent), gate) == expected[name], (path, name)


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/grpc.health.v1.Health/Check", "allow"),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "allow"),
        ("/dex.admin.v1.Admin/Unknown", "PERMISSION_DENIED"),
        ("/dex.admin.v2.Admin/CreateMarket", "PERMISSION_DENIED"),
        ("/DEX.admin.v1.Admin/CreateMarket", "PERMISSION_DENIED"),
        ("/other.v1.Service/Method", "PERMISSION_DENIED"),
        ("/grpcx.v1.Service/Method", "PERMISSION_DENIED"),
    ],
)
async def test_a_path_outside_the_contract_is_denied_to_all(
    path: str,
    outcome: str,
    callers: dict[str, dict[str, Any]],
    make_context: Callable[..., CallContext],
) -> None:
    for sent in callers.values():
        assert await call(make_context(path, **sent), authorizer()) == outcome


READ = "/dex.accounts.v1.Accounts/GetAccount"


async def test_the_identity_reaches_the_handler(
    callers: dict[str, dict[str, Any]], make_context: Callable[..., CallContext]
) -> None:
    trader_key, operator_key = bytes(TRADER.verify_key), bytes(OPERATOR.verify_key)
    expected = {
        "account": Identity(IdentityKind.ACCOUNT, account_id=ACCOUNT_ID, public_key=trader_key),
        "operator_key": Identity(IdentityKind.OPERATOR, operator="desk", public_key=operator_key),
        "operator_certificate": Identity(
            IdentityKind.OPERATOR, operator="machine", certificate_name="ops.example"
        ),
    }
    for name, identity in expected.items():
        context = make_context(READ, **callers[name])
        await call(context, authorizer())
        assert context.state["identity"] == identity


async def test_a_token_speaks_before_the_certificate(
    callers: dict[str, dict[str, Any]], make_context: Callable[..., CallContext]
) -> None:
    context = make_context(READ, **callers["account"], **callers["operator_certificate"])
    assert await call(context, authorizer()) == "allow"
    assert context.state["identity"].kind is IdentityKind.ACCOUNT


async def test_an_account_reads_itself_only(
    callers: dict[str, dict[str, Any]], make_context: Callable[..., CallContext]
) -> None:
    trader = make_context(READ, **callers["account"])
    await call(trader, authorizer())
    authz.require_account(trader, ACCOUNT_ID)
    for other in ("0000010000000000002000", ""):
        with pytest.raises(RpcError, match="PERMISSION_DENIED"):
            authz.require_account(trader, other)
    operator = make_context(READ, **callers["operator_key"])
    await call(operator, authorizer())
    authz.require_account(operator, "0000010000000000002000")
    with pytest.raises(RpcError, match="PERMISSION_DENIED"):
        authz.require_account(make_context(READ), "")


async def test_a_remembered_token_still_expires(
    sign_token: Callable[..., str], make_context: Callable[..., CallContext]
) -> None:
    now = [NOW_NS]
    gate = authorizer(lambda: now[0])
    sent = {"authorization": (sign_token(TRADER, NOW_NS + 100),)}
    assert await call(make_context(READ, **sent), gate) == "allow"
    now[0] = NOW_NS + 99
    assert await call(make_context(READ, **sent), gate) == "allow"
    now[0] = NOW_NS + 100
    for _ in range(2):
        assert await call(make_context(READ, **sent), gate) == "TOKEN_EXPIRED"


def test_the_memory_of_tokens_is_bounded(sign_token: Callable[..., str]) -> None:
    verifier = TokenVerifier(NETWORK, lambda: NOW_NS)
    tokens = [sign_token(TRADER, NOW_NS + 1 + index) for index in range(CACHED_TOKENS_MAX + 10)]
    for token in tokens:
        assert verifier.verify(token).public_key == bytes(TRADER.verify_key)
    assert len(verifier._known) == CACHED_TOKENS_MAX
    assert verifier.verify(tokens[0]).public_key == bytes(TRADER.verify_key)


@pytest.mark.parametrize("nanos", [-1, 10**9])
def test_a_time_that_is_none_is_refused(nanos: int) -> None:
    from base64 import urlsafe_b64encode

    from dex.auth.v1 import auth_pb2

    grant = auth_pb2.AccessGrant(network_id=NETWORK)
    grant.expire_time.seconds = NOW_NS // 10**9 + 60
    grant.expire_time.nanos = nanos
    data = grant.SerializeToString()
    token = auth_pb2.AccessToken(
        grant=data,
        signature=TRADER.sign(b"triodex.access.v1\0" + data).signature,
        public_key=bytes(TRADER.verify_key),
    )
    text = urlsafe_b64encode(token.SerializeToString()).rstrip(b"=").decode()
    with pytest.raises(RpcError, match="expire_time"):
        TokenVerifier(NETWORK, lambda: NOW_NS).verify("Dex " + text)


def service_with(*permissions: int | None) -> ServiceDescriptor:
    """`dex.test.S` with a method per permission; None leaves the option out."""
    file = descriptor_pb2.FileDescriptorProto(
        name="dex/test_service.proto",
        package="dex.test",
        syntax="proto3",
        dependency=[options_pb2.DESCRIPTOR.name],
    )
    file.message_type.add(name="M")
    service = file.service.add(name="S")
    for index, permission in enumerate(permissions):
        method = service.method.add(
            name=f"M{index}", input_type=".dex.test.M", output_type=".dex.test.M"
        )
        if permission is not None:
            extension: Any = options_pb2.permission
            method.options.Extensions[extension] = permission
    pool = descriptor_pool.DescriptorPool()
    for needed in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR):
        copy = descriptor_pb2.FileDescriptorProto()
        needed.CopyToProto(copy)
        pool.Add(copy)
    pool.Add(file)
    return pool.FindServiceByName("dex.test.S")


def test_a_method_without_permission_keeps_the_node_from_starting() -> None:
    good = service_with(options_pb2.PERMISSION_PUBLIC)
    assert PermissionTable.from_services([good]).permission("/dex.test.S/M0") == authz.PUBLIC
    bad = service_with(options_pb2.PERMISSION_PUBLIC, None, options_pb2.PERMISSION_UNSPECIFIED)
    with pytest.raises(authz.MissingPermissionError) as caught:
        PermissionTable.from_services([bad])
    assert "/dex.test.S/M1, /dex.test.S/M2" in str(caught.value)
    assert "M0" not in str(caught.value)

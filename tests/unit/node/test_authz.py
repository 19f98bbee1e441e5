"""Every method of the contract with every kind of caller, against the checked-in matrix."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from nacl.signing import SigningKey

from dex.errors.v1 import errors_pb2
from dex.options.v1 import options_pb2
from dexnode import authz
from dexnode.authz import Authorizer, Identity, IdentityKind, KnownKey, PermissionTable
from dexnode.errors import error_info
from dexnode.tokens import CACHED_TOKENS_MAX, TokenVerifier
from dexrpc import CallContext, MethodKind, RpcError, StatusCode
from tests.unit.node import contract

NETWORK = "triodex-test"
NOW_NS = 1_790_000_000_000_000_000
HOUR_NS = 3600 * 10**9

TRADER, STRANGER, OPERATOR, BLIND, LATE, GONE, REMOVED = (
    SigningKey(bytes([number]) * 32) for number in range(1, 8)
)
ROLE_KEYS = {
    role: SigningKey(bytes([10 + number]) * 32)
    for number, role in enumerate(("markets", "funds", "node", "auditor", "no_role"))
}
ACCOUNT_ID = "0000010000000000001000"
TABLE = PermissionTable.from_services(contract.services())
MATRIX = tomllib.loads(Path(__file__).with_name("authz_matrix.toml").read_text())


@dataclass(frozen=True)
class Operator:
    name: str
    public_key: str | None = None
    certificate_name: str | None = None
    roles: tuple[str, ...] = ("markets", "funds", "node", "auditor")


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


OPERATORS = [
    Operator("desk", public_key=bytes(OPERATOR.verify_key).hex()),
    Operator("machine", certificate_name="ops.example"),
    *(
        Operator(role, public_key=public(key).hex(), roles=() if role == "no_role" else (role,))
        for role, key in ROLE_KEYS.items()
    ),
]
KEYS = {
    public(TRADER): KnownKey(ACCOUNT_ID, may_read=True),
    public(BLIND): KnownKey(ACCOUNT_ID, may_read=False),
    public(LATE): KnownKey(ACCOUNT_ID, True, errors_pb2.ERROR_REASON_KEY_EXPIRED),
    public(GONE): KnownKey(ACCOUNT_ID, True, errors_pb2.ERROR_REASON_KEY_REVOKED),
}


def authorizer(clock_ns: Callable[[], int] = lambda: NOW_NS) -> Authorizer:
    removed = Operator("removed", public_key=public(REMOVED).hex())
    gate = Authorizer(TABLE, TokenVerifier(NETWORK, clock_ns), [*OPERATORS, removed], KEYS.get)
    gate.set_operators(OPERATORS)
    return gate


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
        "key_without_read": {"authorization": (sign_token(BLIND),)},
        "key_expired": {"authorization": (sign_token(LATE),)},
        "key_revoked": {"authorization": (sign_token(GONE),)},
        "removed_operator": {"authorization": (sign_token(REMOVED),)},
        **{
            f"operator_{role}": {"authorization": (sign_token(key),)}
            for role, key in ROLE_KEYS.items()
        },
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


async def test_every_kind_of_caller_fares_as_the_matrix_says(
    callers: dict[str, dict[str, Any]], make_context: Callable[..., CallContext]
) -> None:
    gate = authorizer()
    cells = 0
    for path, row in MATRIX["methods"].items():
        expected = MATRIX["outcomes"][row]
        assert sorted(expected) == sorted(callers)
        for name, sent in callers.items():
            # Twice: the second time a good token comes from the cache.
            for _ in range(2):
                outcome = await call(make_context(path, **sent), gate)
                assert outcome == expected[name], (path, name)
            cells += 1
    assert cells == len(TABLE.paths()) * len(callers)
    print(f"{cells} cells: {len(TABLE.paths())} methods x {len(callers)} kinds of caller")


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
    roles = frozenset(options_pb2.Role.values()) - {options_pb2.ROLE_UNSPECIFIED}
    desk = Identity(IdentityKind.OPERATOR, None, "desk", roles, operator_key)
    expected = {
        "account": Identity(IdentityKind.ACCOUNT, account_id=ACCOUNT_ID, public_key=trader_key),
        "operator_key": desk,
        "operator_certificate": Identity(
            IdentityKind.OPERATOR, None, "machine", roles, certificate_name="ops.example"
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


async def test_a_stream_ends_when_its_caller_may_call_no_more(
    sign_token: Callable[..., str],
    make_context: Callable[..., CallContext],
    autojump_clock: trio.testing.MockClock,
) -> None:
    keys = dict(KEYS)
    gate = Authorizer(TABLE, TokenVerifier(NETWORK, lambda: NOW_NS), OPERATORS, keys.get)
    cases: list[tuple[str, SigningKey, Callable[[], object], str]] = [
        (
            "/dex.risk.v1alpha1.Risk/StreamRiskAlerts",
            TRADER,
            lambda: keys.update({public(TRADER): KEYS[public(GONE)]}),
            "KEY_REVOKED",
        ),
        (
            "/dex.settlement.v1alpha1.BtcSettlementClient/StreamSpends",
            ROLE_KEYS["funds"],
            lambda: gate.set_operators([]),
            "PERMISSION_DENIED",
        ),
    ]
    for path, key, end, reason in cases:
        context = make_context(path, (sign_token(key),), kind=MethodKind.UNARY_STREAM)
        ended_at: list[float] = []

        async def stream(end: Callable[[], object] = end, at: list[float] = ended_at) -> None:
            await trio.sleep(10)
            end()
            at.append(trio.current_time())
            await trio.sleep_forever()

        with trio.fail_after(60), pytest.raises(RpcError) as caught:
            await gate(context, stream)
        info = error_info(caught.value)
        assert info is not None
        assert info.reason == reason
        assert trio.current_time() - ended_at[0] <= 1.0


async def test_a_stream_that_ends_by_itself_is_not_disturbed(
    sign_token: Callable[..., str], make_context: Callable[..., CallContext]
) -> None:
    path = "/dex.risk.v1alpha1.Risk/StreamRiskAlerts"
    context = make_context(path, (sign_token(TRADER),), kind=MethodKind.UNARY_STREAM)
    assert await call(context, authorizer()) == "allow"

    async def refuses() -> None:
        raise RpcError(StatusCode.ABORTED, "its own")

    with pytest.raises(RpcError, match="its own"):
        await authorizer()(context, refuses)


Options = tuple[int | None, int | None]


def service_with(*options: Options) -> ServiceDescriptor:
    """`dex.test.S` with a method per (permission, role); None leaves an option out."""
    file = descriptor_pb2.FileDescriptorProto(
        name="dex/test_service.proto",
        package="dex.test",
        syntax="proto3",
        dependency=[options_pb2.DESCRIPTOR.name],
    )
    file.message_type.add(name="M")
    service = file.service.add(name="S")
    for index, values in enumerate(options):
        method = service.method.add(
            name=f"M{index}", input_type=".dex.test.M", output_type=".dex.test.M"
        )
        extensions: tuple[Any, Any] = (options_pb2.permission, options_pb2.role)
        for extension, value in zip(extensions, values, strict=True):
            if value is not None:
                method.options.Extensions[extension] = value
    pool = descriptor_pool.DescriptorPool()
    for needed in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR):
        copy = descriptor_pb2.FileDescriptorProto()
        needed.CopyToProto(copy)
        pool.Add(copy)
    pool.Add(file)
    return pool.FindServiceByName("dex.test.S")


PUBLIC, OPERATORS_OWN = options_pb2.PERMISSION_PUBLIC, options_pb2.PERMISSION_OPERATOR


def test_a_method_without_permission_keeps_the_node_from_starting() -> None:
    good = service_with((PUBLIC, None), (OPERATORS_OWN, options_pb2.ROLE_FUNDS))
    table = PermissionTable.from_services([good])
    assert table.asked("/dex.test.S/M0") == authz.Asked(PUBLIC)
    assert table.asked("/dex.test.S/M1") == authz.Asked(OPERATORS_OWN, options_pb2.ROLE_FUNDS)
    bad = service_with((PUBLIC, None), (None, None), (options_pb2.PERMISSION_UNSPECIFIED, None))
    with pytest.raises(authz.MissingPermissionError) as caught:
        PermissionTable.from_services([bad])
    assert "/dex.test.S/M1, /dex.test.S/M2" in str(caught.value)
    assert "M0" not in str(caught.value)


def test_an_operators_method_without_role_keeps_the_node_from_starting() -> None:
    node = options_pb2.ROLE_NODE
    bad = service_with((OPERATORS_OWN, node), (OPERATORS_OWN, None), (PUBLIC, node))
    with pytest.raises(authz.MissingPermissionError) as caught:
        PermissionTable.from_services([bad])
    assert "/dex.test.S/M1, /dex.test.S/M2" in str(caught.value)
    assert "M0" not in str(caught.value)

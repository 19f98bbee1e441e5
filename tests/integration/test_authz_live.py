"""Every method of the contract over the wire of a running node, by kind of caller: the matrix file
again, this time with all that lies in front of a handler and in it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Key
from tests.integration.test_api_keys import add_key, revoke
from tests.support.certificates import OPERATOR_NAME, Certificates
from tests.support.node_process import NETWORK_ID, NodeProcess
from tests.support.wire import CALL_SECONDS, Metadata, Refusal, Wire, answer, buy, dial, token
from tests.unit.node import contract

MATRIX = tomllib.loads(
    (Path(__file__).parents[1] / "unit" / "node" / "authz_matrix.toml").read_text()
)
ROLES = ("markets", "funds", "node", "auditor")
# What takes long or ends the node is let through for one caller.
DRAIN = "/dex.admin.v1.Admin/Drain"
ONCE = {"/dex.admin.v1.Admin/TakeSnapshot", DRAIN}
ONCE_BY = "operator_node"
# What a caller is refused for being who it is, and the status it comes with; all else is said of
# the request, after the caller was let in.
STATUS = {
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "KEY_REVOKED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "UNKNOWN_KEY": grpc.StatusCode.PERMISSION_DENIED,
    "KEY_LACKS_SCOPE": grpc.StatusCode.PERMISSION_DENIED,
}


class Guarded:
    """A node with an operator of each role, an account, and who else may come."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.backend = backend
        self.certificates = Certificates(folder / "authority")
        keys = {role: Key.generate() for role in (*ROLES, "no_role", "key")}
        entries = [f'{{ name = "by-certificate", certificate_name = "{OPERATOR_NAME}" }}']
        for name, key in keys.items():
            roles = {"key": list(ROLES), "no_role": []}.get(name, [name])
            entries.append(
                f'{{ name = "{name}", public_key = "{key.public_bytes.hex()}", roles = {roles} }}'
            )
        self.node = NodeProcess(
            folder / "node",
            backend=backend,
            settings=self.certificates.settings(),
            environment={"DEX_OPERATORS": f"[{', '.join(entries)}]"},
        ).start()
        shown = self.certificates.credentials(self.certificates.stranger)
        with dial(self.node.grpc_address, NETWORK_ID, shown) as api:
            owner, other = api.open_account(), api.open_account()
            blind = add_key(api, owner, wire.KEY_SCOPE_TRADE)
            gone = add_key(api, owner, wire.KEY_SCOPE_READ)
            assert revoke(api, owner, gone) == ""
        self.account_id = owner.account_id
        self.callers: dict[str, Metadata] = {
            "anonymous": (),
            "stranger_certificate": (),
            "operator_certificate": (),
            "account": owner.token(),
            "account_of_another": other.token(),
            "key_without_read": blind.token(),
            "key_revoked": gone.token(),
            "key_without_account": token(Key.generate(), NETWORK_ID),
            "garbage_token": (("authorization", "Dex !!!"),),
            **{f"operator_{name}": token(key, NETWORK_ID) for name, key in keys.items()},
        }

    def channel(self, stack: ExitStack, caller: str) -> Wire:
        is_operator = caller == "operator_certificate"
        shown = self.certificates.operator if is_operator else self.certificates.stranger
        credentials = self.certificates.credentials(shown)
        return stack.enter_context(dial(self.node.grpc_address, NETWORK_ID, credentials))

    def request(self, method: MethodDescriptor) -> Message:
        """One that asks for the account, where there is one to ask for."""
        request: Any = GetMessageClass(method.input_type)()
        if MATRIX["methods"][path_of(method)] == "ACCOUNT_READ":
            # A maker names its account in what opens its session.
            asks = request.session if method.name == "QuoteStream" else request
            asks.account_id = self.account_id
        if method.name == "CheckOrder":
            request.order.CopyFrom(buy("NO-SUCH", 1, 1))
        if method.name == "QuoteSwap":
            request.market_id, request.side, request.quantity_lots = "NO-SUCH", wire.SIDE_BUY, 1
        message: Message = request
        return message


@pytest.fixture(params=["trio", "aio"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    it = Guarded(tmp_path, request.param)
    yield it
    it.node.kill()


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def methods() -> dict[str, MethodDescriptor]:
    """Every method of the contract that is no draft."""
    found = {
        path_of(method): method
        for service in contract.services()
        if "v1alpha" not in service.full_name
        for method in service.methods
    }
    assert set(found) == {path for path in MATRIX["methods"] if "v1alpha" not in path}
    return found


def sample() -> dict[str, MethodDescriptor]:
    """A method of each line of the matrix, each kind of stream, and Drain."""
    seen: dict[object, str] = {}
    for path, method in methods().items():
        kind = method.client_streaming, method.server_streaming
        seen.setdefault((MATRIX["methods"][path], kind), path)
    return {path: methods()[path] for path in [*seen.values(), DRAIN]}


def ask(api: Wire, method: MethodDescriptor, request: Message, metadata: Metadata) -> Refusal:
    """How the call was refused, a stream by its first item."""
    path, data = path_of(method), request.SerializeToString()
    kind = ("stream" if method.client_streaming else "unary") + (
        "_stream" if method.server_streaming else "_unary"
    )
    call = getattr(api.channel, kind)(path)
    more: Mapping[str, Any] = {"metadata": metadata, "timeout": CALL_SECONDS}
    if not method.server_streaming:
        return answer(call, data, **more)
    # A stream of requests ends by itself, behind the one that names the account, if there is one.
    items = call(iter([data] if data else []) if method.client_streaming else data, **more)
    said = answer(next, items, None)
    items.cancel()
    return said


def expected(path: str, caller: str) -> str:
    row = MATRIX["methods"][path]
    if caller == "account_of_another":
        # It is let in, and finds that the account is not its own.
        return "PERMISSION_DENIED" if row == "ACCOUNT_READ" else expected(path, "account")
    return str(MATRIX["outcomes"][row][caller])


def test_every_method_on_the_wire_fares_as_the_matrix_says(guarded: Guarded) -> None:
    asked = methods() if guarded.backend == "trio" else sample()
    cells = 0
    with ExitStack() as stack:
        channels = {caller: guarded.channel(stack, caller) for caller in guarded.callers}
        for path, method in sorted(asked.items(), key=lambda pair: pair[0] == DRAIN):
            request = guarded.request(method)
            for caller in sorted(channels, key=lambda name: name == ONCE_BY):
                metadata = guarded.callers[caller]
                wanted = expected(path, caller)
                if path in ONCE and wanted == "allow" and caller != ONCE_BY:
                    continue
                said = ask(channels[caller], method, request, metadata)
                assert (said.reason if said.reason in STATUS else "allow") == wanted, (path, caller)
                assert wanted == "allow" or said.code == STATUS[wanted], (path, caller)
                cells += 1
    assert guarded.node.wait_exit() == 0, "it was drained"
    print(f"{cells} cells: {len(asked)} methods x {len(guarded.callers)} kinds of caller")

"""Keys of an account on a running node: scopes, expiry, revocation, in both directions at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc

from dex.accounts.v1 import accounts_pb2
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Key, KeyScope
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import CALL_SECONDS, OperatorWire, Signer, Wire, answer, buy, refusal_of

READ, TRADE, TRANSFER = wire.KEY_SCOPE_READ, wire.KEY_SCOPE_TRADE, wire.KEY_SCOPE_TRANSFER


def add_key(api: Wire, owner: Signer, *scopes: int, lifetime_ns: int = 0) -> Signer:
    """Another signer of the account."""
    # All keys of an account count their nonces in one space.
    added = Signer(owner.network_id, account_id=owner.account_id, _nonces=owner._nonces)
    registration = wire.KeyRegistration(
        public_key=added.key.public_bytes,
        scopes=scopes,  # type: ignore[arg-type]
        label="added",
    )
    if lifetime_ns:
        registration.expire_time.FromNanoseconds(time.time_ns() + lifetime_ns)
    request = accounts_pb2.RegisterKeyRequest(envelope=owner.envelope(register_key=registration))
    api.accounts.RegisterKey(request, timeout=CALL_SECONDS)
    return added


def revoke(api: Wire, owner: Signer, key: Signer, cancel_all: bool = False) -> str:
    revocation = wire.KeyRevocation(public_key=key.key.public_bytes, cancel_all=cancel_all)
    request = accounts_pb2.RevokeKeyRequest(envelope=owner.envelope(revoke_key=revocation))
    return answer(api.accounts.RevokeKey, request).reason


def place(api: Wire, signer: Signer, market: str) -> str:
    order = buy(market, 1, 1)
    request = orders_pb.PlaceOrderRequest(envelope=signer.envelope(place=order))
    return answer(api.orders.PlaceOrder, request).reason


def read(api: Wire, signer: Signer) -> str:
    request = accounts_pb2.GetAccountRequest(account_id=signer.account_id)
    return answer(api.accounts.GetAccount, request, metadata=signer.token()).reason


def test_a_key_may_do_what_it_was_given(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("KEYA")
    owner, other = operator.trader("USDT"), operator.trader("USDT")
    bot, eye = add_key(api, owner, TRADE), add_key(api, owner, READ)
    move = wire.FundsTransfer(to_account_id=other.account_id, asset_id="USDT", amount_atoms=1)

    def transfer(signer: Signer) -> str:
        request = accounts_pb2.TransferRequest(envelope=signer.envelope(transfer=move))
        return answer(api.accounts.Transfer, request).reason

    assert (place(api, bot, market), read(api, bot)) == ("", "KEY_LACKS_SCOPE")
    assert (place(api, eye, market), read(api, eye)) == ("KEY_LACKS_SCOPE", "")
    assert (transfer(owner), transfer(bot)) == ("", "KEY_LACKS_SCOPE")
    assert revoke(api, bot, eye) == "KEY_LACKS_SCOPE"
    assert revoke(api, owner, owner) == "LAST_FULL_KEY"
    assert revoke(api, other, bot) == "UNKNOWN_KEY", "another account's"


def test_a_revoked_key_is_refused_at_once(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("KEYB")
    owner = operator.trader("USDT")
    bot = add_key(api, owner, TRADE, READ)
    held = bot.token()
    request = accounts_pb2.GetAccountRequest(account_id=bot.account_id)
    for _ in range(3):  # the verifier remembers the token
        assert answer(api.accounts.GetAccount, request, metadata=held).reason == ""
    assert place(api, bot, market) == ""
    assert revoke(api, owner, bot) == ""
    assert answer(api.accounts.GetAccount, request, metadata=held).reason == "KEY_REVOKED"
    assert place(api, bot, market) == "KEY_REVOKED"
    assert len(api.account(owner).open_orders) == 1, "what it placed stays"
    assert list(api.account(owner).public_keys) == [owner.key.public_bytes]
    second = add_key(api, owner, TRADE)
    assert revoke(api, owner, second, cancel_all=True) == ""
    assert not api.account(owner).open_orders


def test_a_retry_is_answered_though_its_key_was_revoked(api: Wire, operator: OperatorWire) -> None:
    """Whoever lost the answer would take KEY_REVOKED for "not applied" and trade again."""
    market = operator.open_market("KEYE")
    owner = operator.trader("USDT")
    bot = add_key(api, owner, TRADE, wire.KEY_SCOPE_MANAGE_KEYS)
    order = orders_pb.PlaceOrderRequest(envelope=bot.envelope(place=buy(market, 1, 1)))
    placed = api.orders.PlaceOrder(order, timeout=CALL_SECONDS)
    ends_itself = wire.KeyRevocation(public_key=bot.key.public_bytes)
    revocation = accounts_pb2.RevokeKeyRequest(envelope=bot.envelope(revoke_key=ends_itself))
    revoked = api.accounts.RevokeKey(revocation, timeout=CALL_SECONDS)
    assert place(api, bot, market) == "KEY_REVOKED"
    assert api.orders.PlaceOrder(order, timeout=CALL_SECONDS) == placed
    assert api.accounts.RevokeKey(revocation, timeout=CALL_SECONDS) == revoked
    assert len(api.account(owner).open_orders) == 1
    # A nonce alone is no answer: other bytes under it are a new payload.
    payload = wire.Payload.FromString(order.envelope.payload)
    payload.place.quantity_lots = 2
    other = orders_pb.PlaceOrderRequest(envelope=bot.sign(payload.SerializeToString()))
    assert answer(api.orders.PlaceOrder, other).reason == "KEY_REVOKED"


def test_a_key_expires(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("KEYC")
    owner = operator.trader("USDT")
    # Long enough to be used on a busy machine.
    bot = add_key(api, owner, TRADE, READ, lifetime_ns=2 * 10**9)
    assert (place(api, bot, market), read(api, bot)) == ("", "")
    wait_until(lambda: place(api, bot, market) == "KEY_EXPIRED", "the key expires")
    assert read(api, bot) == "KEY_EXPIRED"


def test_a_revocation_beside_running_orders(api: Wire, operator: OperatorWire) -> None:
    """Whatever the race, no order is accepted behind the revocation in the journal."""
    market = operator.open_market("KEYD")
    owner = operator.trader("USDT")
    bot = add_key(api, owner, TRADE)
    accepted: list[int] = []
    refused: list[str] = []

    def trade() -> None:
        while not refused:
            envelope = bot.envelope(place=buy(market, 1, 1))
            call = orders_pb.PlaceOrderRequest(envelope=envelope)
            try:
                accepted.append(api.orders.PlaceOrder(call, timeout=CALL_SECONDS).applied.sequence)
            except grpc.RpcError as error:
                refused.append(refusal_of(error).reason)

    threads = [threading.Thread(target=trade) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(accepted) > 20, "orders are under way")
    revocation = wire.KeyRevocation(public_key=bot.key.public_bytes)
    request = accounts_pb2.RevokeKeyRequest(envelope=owner.envelope(revoke_key=revocation))
    sequence = api.accounts.RevokeKey(request, timeout=CALL_SECONDS).applied.sequence
    for thread in threads:
        thread.join(CALL_SECONDS)
    assert set(refused) == {"KEY_REVOKED"}
    assert max(accepted) < sequence


def test_the_sdk_and_the_command_line(served: NodeProcess, tmp_path: Path) -> None:
    owner, account_id = served.open_account()
    with served.client(owner, account_id) as dex:
        bot = Key.generate()
        dex.register_key(bot.public_bytes, scopes=[KeyScope.READ, KeyScope.TRADE], label="bot")
        (first, second) = dex.list_keys()
        assert list(first.scopes) == [1, 2, 3, 4]
        assert (list(second.scopes), second.label) == ([1, 2], "bot")
        with served.client(bot, account_id) as shown:
            assert len(shown.get_account().public_keys) == 2
        assert dex.revoke_key(bot.public_bytes) == []
        assert dex.list_keys()[1].HasField("revoke_time")
        # The command line, as the same account.
        profile = tmp_path / "home" / served.network_id
        profile.mkdir(parents=True)
        owner.save(profile / "key")
        (profile / "account").write_text(account_id)
        added = tmp_path / "bot.key"
        said = command(
            served, tmp_path, "add-key", str(added), "--scope", "trade", "--expires", "30d"
        )
        public_key = Key.load(added).public_bytes.hex()
        assert public_key in said
        listed = command(served, tmp_path, "keys")
        assert f"{public_key}  trade" in listed
        assert "never" in listed
        assert "0 orders cancelled" in command(served, tmp_path, "revoke-key", public_key)
        assert dex.list_keys()[2].HasField("revoke_time")
        said = command(served, tmp_path, "revoke-key", "xyz", code=2)
        assert "'xyz' is not 64 hex digits" in said
        assert "Traceback" not in said


def command(node: NodeProcess, folder: Path, *arguments: str, code: int = 0) -> str:
    """What `dex account` prints."""
    environment = {
        **os.environ,
        "DEX_HOME": str(folder / "home"),
        "DEX_NETWORK_ID": node.network_id,
        "DEX_ADDRESS": node.grpc_address,
    }
    done = subprocess.run(
        [sys.executable, "-m", "dexnode", "account", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr

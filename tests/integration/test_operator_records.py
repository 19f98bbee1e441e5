"""The journal says which operator did what, by which proof and with which request."""

from __future__ import annotations

from pathlib import Path

from dex.admin.v1 import admin_pb2
from dex.audit.v1 import operator_call_pb2
from dex.matching.v1 import matching_pb2
from dexcore.commands import ClockTick, decode_command
from dexruntime.journal import read_journal
from dexruntime.storage import PosixStorage
from tests.support.certificates import OPERATOR_NAME, Certificates, mtls_node
from tests.support.node_process import NodeProcess
from tests.support.wire import OperatorWire, Signer, dial, token

OperatorCall = operator_call_pb2.OperatorCall


def operator_rows(data_dir: Path) -> list[tuple[str, OperatorCall]]:
    """Name of the command and the call beside it, of every record nobody signed."""
    rows = []
    for record in read_journal(PosixStorage(data_dir / "journal", read_only=True)):
        command = decode_command(record.command)
        if not hasattr(command, "nonce") and not isinstance(command, ClockTick):
            call = OperatorCall.FromString(record.envelope)
            assert getattr(command, "operator") == call.operator  # noqa: B009
            rows.append((type(command).__name__, call))
    return rows


def test_every_operation_is_journaled_with_its_operator(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = OperatorWire(api, token(node.operator_key, node.network_id))
            market = operator.open_market("WHO")
            signer: Signer = api.open_account()
            operator.fund(signer, "WHO")
            fees = admin_pb2.SetFeesRequest(market_id=market, maker_fee_ppm=1, taker_fee_ppm=2)
            operator.call("SetFees", fees)
            halt = admin_pb2.SetMarketStatusRequest(
                market_id=market, status=matching_pb2.MARKET_STATUS_HALTED
            )
            operator.call("SetMarketStatus", halt)
            operator.call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
            operator.call("Drain", admin_pb2.DrainRequest())
        assert node.wait_exit() == 0
    finally:
        node.kill()
    rows = operator_rows(node.data_dir)
    commands = [name for name, _ in rows]
    assert commands == [
        *("CreateMarket", "Deposit", "SetFees", "SetMarketStatus"),
        *("RecordOperation", "RecordOperation"),
    ]
    methods = [call.method.removeprefix("dex.admin.v1.Admin/") for _, call in rows]
    assert methods == [
        *("CreateMarket", "CreditAccount", "SetFees", "SetMarketStatus", "TakeSnapshot", "Drain")
    ]
    key = node.operator_key.public_bytes
    seen = {(call.operator, call.public_key, call.certificate_name) for _, call in rows}
    assert seen == {("test", key, "")}
    assert admin_pb2.SetFeesRequest.FromString(rows[2][1].request) == fees
    assert admin_pb2.SetMarketStatusRequest.FromString(rows[3][1].request) == halt


def test_a_certificate_is_named_as_the_proof(tmp_path: Path, certificates: Certificates) -> None:
    node = mtls_node(tmp_path / "node", certificates, "trio")
    try:
        credentials = certificates.credentials(certificates.operator)
        with dial(node.grpc_address, node.network_id, credentials) as api:
            OperatorWire(api, ()).call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
    finally:
        node.kill()
    ((_, call),) = operator_rows(node.data_dir)
    assert (call.operator, call.certificate_name) == ("by-certificate", OPERATOR_NAME)
    assert call.WhichOneof("credential") == "certificate_name"

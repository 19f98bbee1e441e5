"""The compiled rules say what protovalidate says, and refuse to compile what they do not know."""

from __future__ import annotations

import os
import random
from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest

from buf.validate import validate_pb2
from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.errors.v1 import errors_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2, signed_payload_pb2
from dexnode.errors import error_info
from dexnode.validation import Validator, Violation
from dexnode.validation_rules import UnsupportedRuleError
from dexrpc import RpcError, StatusCode
from tests.unit.node import contract

VALIDATOR = Validator(contract.files())
REQUESTS = contract.request_types()
MESSAGES_PER_TYPE = 100


def order(**fields: Any) -> signed_payload_pb2.NewOrder:
    good: dict[str, Any] = {
        "market_id": "BTC-USDT",
        "side": 1,
        "type": 1,
        "time_in_force": 1,
        "price_ticks": 100,
        "quantity_lots": 1,
    }
    return signed_payload_pb2.NewOrder(**{**good, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"market_id": "ab"}, ("market_id", "string.min_len")),
        ({"market_id": "é" * 33}, ("market_id", "string.max_len")),
        ({"market_id": "é" * 32}, None),
        ({"side": 0}, ("side", "enum.not_in")),
        ({"side": 9}, ("side", "enum.defined_only")),
        ({"price_ticks": -1}, ("price_ticks", "int64.gte")),
        ({"price_ticks": 0}, None),
        ({"quantity_lots": 0}, ("quantity_lots", "int64.gt")),
        ({"quantity_lots": (1 << 63) - 1}, None),
        ({"client_order_id": -(1 << 63)}, ("client_order_id", "int64.gte")),
    ],
)
def test_one_rule_at_a_time(fields: dict[str, Any], expected: tuple[str, str] | None) -> None:
    violation = VALIDATOR.violation(order(**fields))
    assert (None if violation is None else violation[:2]) == expected


def payload(*items: signed_payload_pb2.NewOrder) -> signed_payload_pb2.Payload:
    message = signed_payload_pb2.Payload(network_id="n", nonce=1)
    message.expire_time.seconds = 1
    message.batch.items.extend(signed_payload_pb2.BatchItem(place=item) for item in items)
    return message


def test_the_path_leads_to_the_field() -> None:
    bad = payload(order(), order(), order(price_ticks=-5))
    violation = VALIDATOR.violation(bad)
    assert violation == Violation(
        "batch.items[2].place.price_ticks", "int64.gte", "must be at least 0"
    )
    with pytest.raises(RpcError) as caught:
        VALIDATOR.check(bad)
    error = caught.value
    info = error_info(error)
    assert info is not None
    assert error.code is StatusCode.INVALID_ARGUMENT
    assert error.message == "batch.items[2].place.price_ticks must be at least 0"
    assert info.reason == "FIELD_INVALID"
    assert dict(info.metadata) == {"field": "batch.items[2].place.price_ticks", "rule": "int64.gte"}
    [bad_request] = [detail for detail in error.details if isinstance(detail, BadRequest)]
    assert bad_request.field_violations[0].field == "batch.items[2].place.price_ticks"


def test_sizes_of_lists_and_bytes() -> None:
    empty = VALIDATOR.violation(payload())
    assert empty is not None
    assert empty[:2] == ("batch.items", "repeated.min_items")
    assert VALIDATOR.violation(payload(*[order()] * 1000)) is None
    many = VALIDATOR.violation(payload(*[order()] * 1001))
    assert many is not None
    assert many[:2] == ("batch.items", "repeated.max_items")
    envelope = signed_payload_pb2.SignedEnvelope(
        payload=b"x", signature=b"s" * 63, public_key=b"k" * 32
    )
    request = order_intake_pb2.PlaceOrderRequest(envelope=envelope)
    short = VALIDATOR.violation(request)
    assert short == Violation("envelope.signature", "bytes.len", "must have exactly 64 bytes")


def test_required_fields_and_oneofs() -> None:
    missing = VALIDATOR.violation(order_intake_pb2.PlaceOrderRequest())
    assert missing == Violation("envelope", "required", "must be set")
    nothing = payload()
    nothing.ClearField("action")
    assert VALIDATOR.violation(nothing) == Violation(
        "action", "required", "must be set to one of its fields"
    )


def test_a_pattern_ends_at_the_end_of_the_text() -> None:
    asset = matching_pb2.Asset(asset_id="USDC.eth")
    assert VALIDATOR.violation(asset) is None
    for bad in ("USDC eth", "USDC\n", "\u0663"):
        asset.asset_id = bad
        violation = VALIDATOR.violation(asset)
        assert violation is not None
        assert violation.rule == "string.pattern"
        assert protovalidate.collect_violations(asset)


def test_a_message_of_another_contract_is_a_fault_of_the_code() -> None:
    with pytest.raises(KeyError):
        Validator([errors_pb2.DESCRIPTOR]).violation(accounts_pb2.GetAccountRequest())


def test_imports_are_compiled_too() -> None:
    only_admin = Validator([admin_pb2.DESCRIPTOR])
    assert only_admin.violation(order(side=0)) is not None


# --- against protovalidate --------------------------------------------------------------------


def random_value(rng: random.Random, field: FieldDescriptor) -> Any:
    """Values near the edges the rules speak of, good ones oftener than bad ones."""
    if field.type == FieldDescriptor.TYPE_STRING:
        length = rng.choice([0, 1, 2, 3, 8, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257])
        text = rng.choice("AZaz09.-") * length
        if text and rng.random() < 0.2:
            at = rng.randrange(length)
            text = text[:at] + rng.choice("é\n $A") + text[at + 1 :]
        return text
    if field.type == FieldDescriptor.TYPE_BYTES:
        sizes = [0, 1, 20, 31, 32, 33, 63, 64, 65, 256, 257]
        return b"x" * rng.choice([65536, 65537] if rng.random() < 0.05 else sizes)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return rng.choice([*numbers, *numbers, max(numbers) + 1, -1])
    edges = [0, 1, 2, 18, 19, 100, 1000, 1001, 10_000, 10_001, 100_000, 100_001, (1 << 31) - 1]
    value = rng.choice(edges)
    if field.type in {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64}:
        value = rng.choice([value, (1 << 63) - 1])
    unsigned = {FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}
    return -value if rng.random() < 0.1 and field.type not in unsigned else value


def random_message(rng: random.Random, descriptor: Descriptor, depth: int = 0) -> Message:
    message = GetMessageClass(descriptor)()
    fill = rng.choice([0.5, 0.95, 1.0])
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if rng.random() > fill or depth > 5:
            continue
        if field.is_repeated:
            count = rng.choice([0, 1, 1, 2, 3]) if rng.random() < 0.98 else 1001
            if field.message_type is not None:
                one = [random_message(rng, field.message_type, depth + 1) for _ in range(3)]
                getattr(message, field.name).extend(one[index % 3] for index in range(count))
            else:
                values = [random_value(rng, field) for _ in range(3)]
                if count > 3:
                    values = [v[:64] if isinstance(v, str | bytes) else v for v in values]
                getattr(message, field.name).extend(values[index % 3] for index in range(count))
        elif field.message_type is not None:
            inner = random_message(rng, field.message_type, depth + 1)
            getattr(message, field.name).CopyFrom(inner)
        else:
            setattr(message, field.name, random_value(rng, field))
    return message


def official(message: Message) -> set[tuple[str, str]]:
    """(path, rule) of every violation protovalidate finds."""
    found = set()
    for violation in protovalidate.collect_violations(message):
        proto = violation.proto
        path = ""
        assert proto.field is not None
        for element in proto.field.elements:
            path += "." * bool(path) + element.field_name
            if element.subscript is not None:
                path += f"[{element.subscript.value}]"
        found.add((path, proto.rule_id))
    return found


@pytest.mark.parametrize("descriptor", REQUESTS, ids=lambda descriptor: descriptor.full_name)
def test_protovalidate_says_the_same(descriptor: Descriptor) -> None:
    seed = int(os.environ.get("TRIODEX_SEED", "20251"))
    rng = random.Random(f"{seed}{descriptor.full_name}")
    verdicts = {True: 0, False: 0}
    for index in range(MESSAGES_PER_TYPE):
        message = random_message(rng, descriptor)
        ours = VALIDATOR.violation(message)
        theirs = official(message)
        replay = (
            f"message {index} of {descriptor.full_name}; replay: TRIODEX_SEED={seed} pytest "
            f"tests/unit/node/test_validation.py -k '{descriptor.full_name}'\n{message}"
        )
        assert (ours is None) == (not theirs), (ours, theirs, replay)
        if ours is not None:
            assert (ours.field, ours.rule) in theirs, (ours, theirs, replay)
        verdicts[ours is None] += 1
    has_rules = any(official(random_message(rng, descriptor)) for _ in range(50))
    if has_rules:
        assert verdicts[False], "no message was refused: the generator is too kind"


# --- rules outside the subset -----------------------------------------------------------------


def file_with(
    edit: Any, label: int = FieldDescriptor.LABEL_OPTIONAL, kind: int = FieldDescriptor.TYPE_INT64
) -> Any:
    """A file `dex.test` whose one message M has one field `f` with the rules `edit` sets."""
    file = descriptor_pb2.FileDescriptorProto(
        name="dex/test.proto",
        package="dex.test",
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    message = file.message_type.add(name="M")
    field = message.field.add(name="f", number=1, label=label, type=kind)
    if kind == FieldDescriptor.TYPE_MESSAGE:
        field.type_name = ".dex.test.M"
    edit(message, field.options.Extensions[validate_pb2.field])
    pool = descriptor_pool.DescriptorPool()
    for needed in (
        descriptor_pb2.DESCRIPTOR,
        *validate_pb2.DESCRIPTOR.dependencies,
        validate_pb2.DESCRIPTOR,
    ):
        copy = descriptor_pb2.FileDescriptorProto()
        needed.CopyToProto(copy)
        try:
            pool.Add(copy)
        except TypeError:
            continue
    pool.Add(file)
    return pool.FindFileByName("dex/test.proto")


def edit_cel(_message: Any, rules: Any) -> None:
    rules.cel.add(id="x", expression="this > 0")


def edit_in(_message: Any, rules: Any) -> None:
    getattr(rules.int64, "in").append(3)


def edit_gap(_message: Any, rules: Any) -> None:
    rules.int64.gt, rules.int64.lt = 10, 5


def edit_ignore(_message: Any, rules: Any) -> None:
    rules.ignore = validate_pb2.IGNORE_IF_ZERO_VALUE


def edit_whole_message(message: Any, _rules: Any) -> None:
    message.options.Extensions[validate_pb2.message].cel.add(id="x", expression="true")


def edit_items(_message: Any, rules: Any) -> None:
    rules.repeated.items.required = True


def edit_pattern(_message: Any, rules: Any) -> None:
    rules.string.pattern = r"\d+"


def edit_uuid(_message: Any, rules: Any) -> None:
    rules.string.uuid = True


def edit_nothing(_message: Any, _rules: Any) -> None:
    return


@pytest.mark.parametrize(
    ("edit", "label", "kind"),
    [
        (edit_cel, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_INT64),
        (edit_in, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_INT64),
        (edit_gap, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_INT64),
        (edit_ignore, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_INT64),
        (edit_whole_message, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_INT64),
        (edit_items, FieldDescriptor.LABEL_REPEATED, FieldDescriptor.TYPE_INT64),
        (edit_pattern, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_STRING),
        (edit_uuid, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_STRING),
        (edit_nothing, FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.TYPE_MESSAGE),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_rule_outside_the_subset_stops_the_node(edit: Any, label: int, kind: int) -> None:
    with pytest.raises(UnsupportedRuleError):
        Validator([file_with(edit, label, kind)])


def test_the_file_of_these_tests_compiles_without_such_a_rule() -> None:
    def edit(_message: Any, rules: Any) -> None:
        rules.int64.gt = 0

    file = file_with(edit)
    message = GetMessageClass(file.message_types_by_name["M"])()
    assert Validator([file]).violation(message) == Violation(
        "f", "int64.gt", "must be greater than 0"
    )

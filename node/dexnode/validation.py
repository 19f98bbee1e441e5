"""The contract's validation rules (buf.validate), compiled once and checked on every request.

Theory of operation: at start every message of the contract becomes a tuple of closures
(validation_rules). They return on good values and raise on the first bad one; a nested message adds
its own name in front on the way out, so only a refusal pays for building a path. A rule outside the
subset the closures know keeps the node from starting: none is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from buf.validate import validate_pb2
from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse
from dexnode.validation_rules import (
    Broken,
    Check,
    UnsupportedRuleError,
    each_message,
    each_value,
    field_checks,
    if_set,
    nested_message,
    one_of,
    required,
)
from dexrpc import RpcError

CONTRACT_PACKAGE_PREFIX: Final = "dex."


class Violation(NamedTuple):
    """A broken rule."""

    field: str
    """Path from the checked message, e.g. `batch.items[3].place.price_ticks`."""

    rule: str
    """The rule's name in protovalidate, e.g. `int64.gt`."""

    message: str
    """What the value must be, in words that follow the field's name."""

    def as_error(self) -> RpcError:
        """The refusal that ends a call: FIELD_INVALID with the field and the rule."""
        return refuse(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            f"{self.field} {self.message}",
            field=self.field,
            metadata={"rule": self.rule},
        )


@final
class Validator:
    """The compiled rules of a set of files and of everything of the contract they import."""

    __slots__ = ("_checks",)

    def __init__(self, files: Iterable[FileDescriptor]) -> None:
        """Raises UnsupportedRuleError, naming the field, for a rule outside the subset."""
        compiled = _Compiler().compile_files(files)
        self._checks = {GetMessageClass(message): checks for message, checks in compiled.items()}

    def violation(self, message: Message) -> Violation | None:
        """The first broken rule, if any. Raises KeyError for a message of none of the files."""
        try:
            for check in self._checks[type(message)]:
                check(message)
        except Broken as broken:
            return Violation(broken.path, broken.rule, broken.message)
        return None

    def check(self, message: Message) -> None:
        """Raises FIELD_INVALID (RpcError) for the first broken rule."""
        violation = self.violation(message)
        if violation is not None:
            raise violation.as_error()


class _Compiler:
    def __init__(self) -> None:
        self._done: dict[Descriptor, tuple[Check, ...]] = {}
        self._open: list[Descriptor] = []

    def compile_files(self, files: Iterable[FileDescriptor]) -> dict[Descriptor, tuple[Check, ...]]:
        for file in _contract_files(files):
            for descriptor in file.message_types_by_name.values():
                for nested in _with_nested(descriptor):
                    self._compile(nested)
        return self._done

    def _compile(self, descriptor: Descriptor) -> tuple[Check, ...]:
        if not descriptor.file.package.startswith(CONTRACT_PACKAGE_PREFIX):
            return ()
        if descriptor not in self._done:
            if descriptor in self._open:
                raise UnsupportedRuleError(f"{descriptor.full_name} contains itself")
            self._open.append(descriptor)
            self._done[descriptor] = tuple(self._message_checks(descriptor))
            self._open.pop()
        return self._done[descriptor]

    def _message_checks(self, descriptor: Descriptor) -> Iterator[Check]:
        where = descriptor.full_name
        _refuse_unknown(where, _rules(descriptor, validate_pb2.message))
        for oneof in descriptor.oneofs:
            rules = _rules(oneof, validate_pb2.oneof)
            is_required = rules.pop("required", False)
            _refuse_unknown(f"{where}.{oneof.name}", rules)
            members = {field.name: tuple(self._value_checks(field)) for field in oneof.fields}
            if is_required or any(members.values()):
                yield one_of(oneof.name, is_required, members)
        for field in descriptor.fields:
            if _rules(field, validate_pb2.field).get("required"):
                yield required(field)
            if field.containing_oneof is None:
                checks = tuple(self._value_checks(field))
                if checks and field.has_presence:
                    yield if_set(field.name, checks)
                else:
                    yield from checks

    def _value_checks(self, field: FieldDescriptor) -> Iterator[Check]:
        """What must hold of the field's value, given that it has one."""
        rules = _rules(field, validate_pb2.field)
        rules.pop("required", None)
        yield from _rule_checks(field, rules)
        if field.message_type is not None:
            inner = self._compile(field.message_type)
            if inner and field.message_type.GetOptions().map_entry:
                raise UnsupportedRuleError(f"{field.full_name}: rules inside a map")
            if inner:
                yield (each_message if field.is_repeated else nested_message)(field.name, inner)


def _rule_checks(field: FieldDescriptor, rules: dict[str, Any]) -> Iterator[Check]:
    for kind, options in rules.items():
        if not isinstance(options, Message):
            raise UnsupportedRuleError(f"{field.full_name}: {kind}")
        kind_rules = _set_fields(options, field.full_name)
        items = kind_rules.pop("items", None) if kind == "repeated" else None
        if items is not None:
            if field.message_type is not None:
                raise UnsupportedRuleError(f"{field.full_name}: items that are messages")
            inner = tuple(_rule_checks(field, _set_fields(items, field.full_name)))
            yield each_value(field.name, inner)
        yield from field_checks(field, kind, kind_rules)
        _refuse_unknown(f"{field.full_name}: {kind}", kind_rules)


def _contract_files(files: Iterable[FileDescriptor]) -> Iterator[FileDescriptor]:
    """The files and what they import, as far as it is the contract's, each once."""
    seen: set[str] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file.name not in seen and file.package.startswith(CONTRACT_PACKAGE_PREFIX):
            seen.add(file.name)
            yield file
            waiting.extend(file.dependencies)


def _with_nested(descriptor: Descriptor) -> Iterator[Descriptor]:
    yield descriptor
    for nested in descriptor.nested_types:
        yield from _with_nested(nested)


def _rules(described: Any, extension: Any) -> dict[str, Any]:
    return _set_fields(described.GetOptions().Extensions[extension], described.full_name)


def _set_fields(options: Message, where: str) -> dict[str, Any]:
    """The rules that are set, by name. Those of an extension nobody loaded have no name."""
    if len(UnknownFieldSet(options)):
        raise UnsupportedRuleError(f"{where}: a rule of an unknown extension")
    return {field.name: value for field, value in options.ListFields()}


def _refuse_unknown(where: str, rules: dict[str, Any]) -> None:
    if rules:
        raise UnsupportedRuleError(f"{where}: {', '.join(rules)}")

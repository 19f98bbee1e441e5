"""One closure per rule-bearing field: reads the field once, raises `Broken` on a bad value.

The meaning of each rule is protovalidate's (buf/validate/validate.proto); string lengths count code
points. Lower and upper bound share a closure, and so do the rules of an enum: these run for every
item of every batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

Check = Callable[[Any], None]

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_BOUND_WORDS: Final = {"gt": "greater than", "gte": "at least", "lt": "less than", "lte": "at most"}

# Of RE2 and Python's re, the part that means the same in both once `$` is written as `\Z`.
_PORTABLE_PATTERN: Final = re.compile(
    r"\^?(?:[\w .,:/+*|(){}\[\]-]|\[\^|\\[.+*?|(){}\[\]/-])*\$?", re.ASCII
)


class UnsupportedRuleError(Exception):
    """The contract has a rule that the node does not know. The node does not start."""


class Broken(Exception):  # a signal between these closures, not an error of anyone
    """A value breaks `rule`; `path` grows from the inside out."""

    def __init__(self, rule: str, message: str, path: str) -> None:
        super().__init__(rule)
        self.rule = rule
        self.message = message
        self.path = path

    def under(self, name: str) -> Broken:
        """This, seen from the message that holds `name`."""
        self.path = f"{name}.{self.path}"
        return self


def field_checks(field: FieldDescriptor, kind: str, rules: dict[str, Any]) -> Iterator[Check]:
    """The checks of one kind of rules, e.g. `string`. Takes out of `rules` what it knows."""
    name = field.name
    if kind in {"int32", "int64"}:
        yield from _bounds(name, kind, rules)
    elif kind in {"string", "bytes"}:
        unit = "character" if kind == "string" else "byte"
        yield from _sizes(name, kind, unit, rules, ("min_len", "max_len", "len"))
        if kind == "string" and "pattern" in rules:
            yield _pattern(name, rules.pop("pattern"))
    elif kind == "repeated":
        yield from _sizes(name, kind, "item", rules, ("min_items", "max_items"))
        if rules.pop("unique", False):
            yield _unique(name)
    elif kind == "enum" and field.enum_type is not None:
        yield from _enum(name, field.enum_type, rules)


def required(field: FieldDescriptor) -> Check:
    """The field is set; without presence: it is not its default, or has items."""
    name = field.name
    if field.has_presence:

        def check_set(message: Any) -> None:
            if not message.HasField(name):
                raise Broken("required", "must be set", name)

        return check_set

    def check_value(message: Any) -> None:
        if not getattr(message, name):
            raise Broken("required", "must be set", name)

    return check_value


def one_of(name: str, is_required: bool, members: Mapping[str, tuple[Check, ...]]) -> Check:
    """The checks of the field that is set; `is_required`: that one is."""

    def check(message: Any) -> None:
        member = message.WhichOneof(name)
        if member is not None:
            for member_check in members[member]:
                member_check(message)
        elif is_required:
            raise Broken("required", "must be set to one of its fields", name)

    return check


def if_set(name: str, inner: tuple[Check, ...]) -> Check:
    """`inner`, for a message whose `name` is set."""

    def check(message: Any) -> None:
        if message.HasField(name):
            for inner_check in inner:
                inner_check(message)

    return check


def nested_message(name: str, inner: tuple[Check, ...]) -> Check:
    """The rules of the message in field `name`."""

    def check(message: Any) -> None:
        value = getattr(message, name)
        try:
            for inner_check in inner:
                inner_check(value)
        except Broken as broken:
            raise broken.under(name) from None

    return check


def each_message(name: str, inner: tuple[Check, ...]) -> Check:
    """The rules of every message in repeated field `name`."""

    def check(message: Any) -> None:
        index = 0
        try:
            for value in getattr(message, name):
                for inner_check in inner:
                    inner_check(value)
                index += 1
        except Broken as broken:
            raise broken.under(f"{name}[{index}]") from None

    return check


def each_value(name: str, inner: tuple[Check, ...]) -> Check:
    """The rules of every value in repeated field `name`. `inner` reads one value as if it were the
    whole field; off the hot path, so a holder per value is cheap enough."""

    def check(message: Any) -> None:
        for index, value in enumerate(getattr(message, name)):
            holder = SimpleNamespace(**{name: value})
            try:
                for inner_check in inner:
                    inner_check(holder)
            except Broken as broken:
                raise Broken(broken.rule, broken.message, f"{name}[{index}]") from None

    return check


def _unique(name: str) -> Check:
    def check(message: Any) -> None:
        values = getattr(message, name)
        if len(set(values)) != len(values):
            raise Broken("repeated.unique", "must not name a value twice", name)

    return check


def _bounds(name: str, kind: str, rules: dict[str, Any]) -> Iterator[Check]:
    # Each pair is a oneof in the rules: at most one of gt and gte, and of lt and lte, is set.
    bounds = {rule: rules.pop(rule) for rule in ("gt", "gte", "lt", "lte") if rule in rules}
    if not bounds:
        return
    minimum = bounds.get("gte", bounds.get("gt", _INT64_MIN - 1) + 1)
    maximum = bounds.get("lte", bounds.get("lt", _INT64_MAX + 1) - 1)
    if minimum > maximum:
        raise UnsupportedRuleError(f"{name}: a range that excludes its middle")
    rule = f"{kind}.{'_'.join(bounds)}"
    words = " and ".join(f"{_BOUND_WORDS[bound]} {limit}" for bound, limit in bounds.items())

    def check(message: Any) -> None:
        if not minimum <= getattr(message, name) <= maximum:
            raise Broken(rule, f"must be {words}", name)

    yield check


def _sizes(
    name: str, kind: str, unit: str, rules: dict[str, Any], known: tuple[str, ...]
) -> Iterator[Check]:
    limits = {rule: rules.pop(rule) for rule in known if rule in rules}
    if not limits:
        return
    exact = limits.get("len")
    minimum = max(size for rule, size in {"": 0, **limits}.items() if not rule.startswith("max"))
    maximum = min(
        size for rule, size in {"": 1 << 63, **limits}.items() if not rule.startswith("min")
    )

    def check(message: Any) -> None:
        size = len(getattr(message, name))
        if minimum <= size <= maximum:
            return
        for rule, limit in limits.items():
            units = f"{limit} {unit}{'' if limit == 1 else 's'}"
            if rule == "len" and size != exact:
                raise Broken(f"{kind}.len", f"must have exactly {units}", name)
            if rule.startswith("min") and size < limit:
                raise Broken(f"{kind}.{rule}", f"must have at least {units}", name)
            if rule.startswith("max") and size > limit:
                raise Broken(f"{kind}.{rule}", f"must have at most {units}", name)

    yield check


def _pattern(name: str, pattern: str) -> Check:
    if not _PORTABLE_PATTERN.fullmatch(pattern):
        raise UnsupportedRuleError(f"{name}: a pattern that RE2 and Python may read differently")
    # RE2's `$` is the end of the text; Python's also stands before a last line feed.
    portable = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    search = re.compile(portable, re.ASCII).search

    def check(message: Any) -> None:
        if search(getattr(message, name)) is None:
            raise Broken("string.pattern", f"must match {pattern}", name)

    return check


def _enum(name: str, enum: EnumDescriptor, rules: dict[str, Any]) -> Iterator[Check]:
    refused: Iterable[int] = frozenset(rules.pop("not_in", ()))
    if rules.pop("defined_only", False):
        allowed = frozenset(value.number for value in enum.values) - frozenset(refused)

        def check_defined(message: Any) -> None:
            value = getattr(message, name)
            if value not in allowed:
                if value in refused:
                    raise Broken("enum.not_in", f"must not be {value}", name)
                raise Broken("enum.defined_only", "must be a value the contract defines", name)

        yield check_defined
    elif refused:

        def check_refused(message: Any) -> None:
            value = getattr(message, name)
            if value in refused:
                raise Broken("enum.not_in", f"must not be {value}", name)

        yield check_refused

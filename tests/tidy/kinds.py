"""Which expressions of the pure rooms are sets: a small data flow for the determinism check.

Names, fields, arguments and results get a `Kind` from annotations (the rooms are fully typed) and
from what is bound to them. A name is what any of its bindings in a function makes it, a field is
what any class of the rooms makes a field of that name: too many sets are found rather than too few.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import NamedTuple

from tests.tidy.spelling import last_name, parse
from tests.tidy.texts import Texts

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Kind(NamedTuple):
    """A set, a view of a dict's keys or items, or a mapping or sequence with such things inside."""

    name: str  # "set", "keys", "items", "map" or "seq"
    inside: Kind | None = None


SET = Kind("set")
KEYS = Kind("keys")
SETS = {"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"}
VIEWS = {"KeysView": KEYS, "ItemsView": Kind("items")}
MAPS = {"dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict", "SortedDict"}
SEQUENCES = {
    *("list", "List", "tuple", "Tuple", "deque", "Sequence", "Iterable", "Iterator", "Collection"),
    *("Generator", "SortedList", "ValuesView"),
}
WRAPPERS = {"Final", "Optional", "ClassVar", "Annotated", "Required", "NotRequired", "type"}
# Methods of a set that give a set, operators that do, and calls that keep what is inside.
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference", "copy"}
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
REWRAPS = {"list", "tuple", "sorted", "iter", "reversed", "deque"}


class World:
    """What all files of the pure rooms say of fields, results and arguments, by name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.fields: dict[str, Kind] = {}
        self.results: dict[str, Kind] = {}
        self.set_arguments: dict[str, set[str | int]] = {}
        self.aliases: dict[str, Kind] = {}
        self.constants: dict[str, Kind] = {}
        trees = [parse(text) for _, text in sorted(texts.items())]
        self.texts = Texts(trees)
        # Twice: a file may use a field that a later one declares.
        for tree in trees * 2:
            Inference(self).visit(tree)

    def of_annotation(self, node: ast.expr | None) -> Kind | None:
        """The kind an annotation names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self.of_annotation(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return None  # the text of a Literal
        if isinstance(node, ast.BinOp):
            return self.of_annotation(node.left) or self.of_annotation(node.right)
        if isinstance(node, ast.Name | ast.Attribute):
            name = last_name(node)
            return SET if name in SETS else VIEWS.get(name) or self.aliases.get(name)
        if not isinstance(node, ast.Subscript):
            return None
        name = last_name(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        inside = next((kind for part in inner[::-1] if (kind := self.of_annotation(part))), None)
        if name in SETS:
            return SET
        if name in VIEWS:
            return VIEWS[name]
        if name in WRAPPERS:
            return inside
        if name in MAPS or name in SEQUENCES:
            return inside and Kind("map" if name in MAPS else "seq", inside)
        return None


class Walker(ast.NodeVisitor):
    """Visits a file and knows at every node what the names around it are."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scopes: list[dict[str, Kind]] = [{}]
        self.kept: dict[ast.AST, dict[str, Kind]] = {}
        self.in_class = False
        # Of the class around, when it is a set or a container of sets itself.
        self.class_kind: Kind | None = None

    def visit(self, node: ast.AST) -> None:
        """Visit a node, inside a scope of its own if it is a function or a class."""
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            super().visit(node)
            return
        self.scopes.append(self.kept.setdefault(node, {}))
        outer, self.in_class = self.in_class, isinstance(node, ast.ClassDef)
        super().visit(node)
        self.in_class = outer
        self.scopes.pop()

    def kind_of(self, node: ast.expr | None) -> Kind | None:
        """The kind of an expression; None when it is no set and holds none, as far as known."""
        if isinstance(node, ast.Set | ast.SetComp):
            return SET
        if isinstance(node, ast.Name):
            found = (scope[node.id] for scope in reversed(self.scopes) if node.id in scope)
            return next(found, None)
        if isinstance(node, ast.Attribute):
            return self.world.fields.get(node.attr)
        if isinstance(node, ast.Call):
            return self._of_call(node)
        if isinstance(node, ast.Subscript):
            whole = self.kind_of(node.value)
            return whole if isinstance(node.slice, ast.Slice) else whole and whole.inside
        if isinstance(node, ast.BinOp):
            return self._of_operator(node)
        return self._of_container(node)

    def _of_container(self, node: ast.expr | None) -> Kind | None:
        if isinstance(node, ast.Dict):
            return _wrapped("map", [self.kind_of(value) for value in node.values])
        if isinstance(node, ast.DictComp):
            return _wrapped("map", [self.kind_of(node.value)])
        if isinstance(node, ast.List | ast.Tuple):
            return _wrapped("seq", [self.kind_of(part) for part in node.elts])
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return _wrapped("seq", [self.kind_of(node.elt)])
        if isinstance(node, ast.IfExp):
            return self.kind_of(node.body) or self.kind_of(node.orelse)
        if isinstance(node, ast.BoolOp):
            return next((kind for part in node.values if (kind := self.kind_of(part))), None)
        if isinstance(node, ast.NamedExpr | ast.Starred | ast.Await):
            return self.kind_of(node.value)
        return None

    def _of_operator(self, node: ast.BinOp) -> Kind | None:
        sides = (self.kind_of(node.left), self.kind_of(node.right))
        names = {side.name for side in sides if side}
        if isinstance(node.op, SET_OPERATORS) and names & {"set", "keys", "items"}:
            return SET
        return (
            next((side for side in sides if side), None) if isinstance(node.op, ast.Add) else None
        )

    def _of_call(self, node: ast.Call) -> Kind | None:
        name = last_name(node.func)
        if isinstance(node.func, ast.Attribute):
            return self._of_method(node.func) or self.world.results.get(name)
        first = node.args[0] if node.args else None
        if name in {"set", "frozenset"}:
            return SET
        if name == "cast":
            return self.world.of_annotation(first)
        if name == "defaultdict" and first is not None and last_name(first) in SETS:
            return Kind("map", SET)
        if name in REWRAPS:
            kind = self.kind_of(first)
            return kind and _wrapped("seq", [kind.inside])
        return self.world.results.get(name)

    def _of_method(self, method: ast.Attribute) -> Kind | None:
        name, owner = method.attr, self.kind_of(method.value)
        if name in {"keys", "items"}:
            return Kind(name, owner and owner.inside)
        if owner is None:
            return SET if _on_the_type(method) else None
        if owner.name in {"set", "keys", "items"}:
            return SET if name in SET_METHODS else None
        if name in {"get", "pop", "setdefault"}:
            return owner.inside
        if name == "values":
            return _wrapped("seq", [owner.inside])
        return owner if name == "copy" else None


def _on_the_type(method: ast.Attribute) -> bool:
    """`set.union(...)` and the like."""
    return method.attr in SET_METHODS and last_name(method.value) in {"set", "frozenset"}


def _wrapped(name: str, inside: list[Kind | None]) -> Kind | None:
    found = next((kind for kind in inside if kind), None)
    return Kind(name, found) if found else None


class Inference(Walker):
    """Binds names until nothing new is found."""

    def visit_Module(self, node: ast.Module) -> None:
        """The whole file, again and again: a loop may use what it binds later."""
        while True:
            before = [dict(scope) for scope in (*self.scopes, *self.kept.values())]
            self.generic_visit(node)
            if before == [dict(scope) for scope in (*self.scopes, *self.kept.values())]:
                return

    def bind(self, target: ast.expr, kind: Kind | None) -> None:
        """Note what a target is bound to."""
        if kind is None:
            return
        if isinstance(target, ast.Name):
            self.scopes[-1].setdefault(target.id, kind)
            if self.in_class:
                self.world.fields.setdefault(target.id, kind)
            elif len(self.scopes) == 1:
                self.world.constants.setdefault(target.id, kind)
        elif isinstance(target, ast.Attribute):
            self.world.fields.setdefault(target.attr, kind)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, Kind("seq", kind))
        elif isinstance(target, ast.Tuple | ast.List):
            # The key of a dict's item is no set, and hides none.
            parts = target.elts[-1:] if kind.name == "items" else target.elts
            for part in parts:
                self.bind(part, kind.inside)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """A constant of another file."""
        for alias in node.names:
            if kind := self.world.constants.get(alias.name):
                self.scopes[-1].setdefault(alias.asname or alias.name, kind)

    def visit_Assign(self, node: ast.Assign) -> None:
        """`a = b = value`; at the top of a file also a name for a type."""
        self.generic_visit(node)
        for target in node.targets:
            self.bind(target, self.kind_of(node.value))
            value = node.value
            if isinstance(value, ast.Call) and last_name(value.func) == "NewType":
                value = value.args[-1]
            alias = self.world.of_annotation(value) if len(self.scopes) == 1 else None
            if alias and isinstance(target, ast.Name):
                self.world.aliases.setdefault(target.id, alias)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """`a: set[int] = value`."""
        self.generic_visit(node)
        self.bind(node.target, self.world.of_annotation(node.annotation))
        self.bind(node.target, self.kind_of(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """`a |= value`."""
        self.generic_visit(node)
        if isinstance(node.op, SET_OPERATORS) and self.kind_of(node.value) == SET:
            self.bind(node.target, SET)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """`(a := value)`."""
        self.generic_visit(node)
        self.bind(node.target, self.kind_of(node.value))

    def visit_For(self, node: ast.For) -> None:
        """The target of a loop is what is inside."""
        self.bind_inside(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """The target of a comprehension too."""
        self.bind_inside(node.target, node.iter)
        self.generic_visit(node)

    def bind_inside(self, target: ast.expr, whole: ast.expr) -> None:
        """Bind what iterating gives: of a dict's items the pair."""
        kind = self.kind_of(whole)
        if kind and kind.name == "items" and kind.inside:
            self.bind(target, kind)
        elif kind and kind.name == "seq":
            self.bind(target, kind.inside)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Arguments and the result, as annotated."""
        arguments = [*node.args.posonlyargs, *node.args.args]
        method = bool(arguments) and arguments[0].arg in {"self", "cls"}
        takes = self.world.set_arguments.setdefault(node.name, set())
        for number, argument in enumerate([*arguments, *node.args.kwonlyargs]):
            kind = self.world.of_annotation(argument.annotation)
            if kind:
                self.scopes[-1].setdefault(argument.arg, kind)
            if kind == SET:
                takes.add(argument.arg)
                if number < len(arguments):
                    takes.add(number - method)
        for rest, name in ((node.args.vararg, "seq"), (node.args.kwarg, "map")):
            if rest and (kind := self.world.of_annotation(rest.annotation)):
                self.scopes[-1].setdefault(rest.arg, Kind(name, kind))
        if method and self.class_kind:
            self.scopes[-1].setdefault(arguments[0].arg, self.class_kind)
        result = self.world.of_annotation(node.returns) or self._returned(node)
        if result:
            self.world.results.setdefault(node.name, result)
            if any(
                last_name(mark) in {"property", "cached_property"} for mark in node.decorator_list
            ):
                self.world.fields.setdefault(node.name, result)
        self.generic_visit(node)

    def _returned(self, node: Function) -> Kind | None:
        """A result that is annotated as less than the set it is."""
        found = (
            self.kind_of(part.value) for part in ast.walk(node) if isinstance(part, ast.Return)
        )
        return next((kind for kind in found if kind == SET), None)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """`class A(set[int])`: its name, what it makes, and `self` in it."""
        bases = (self.world.of_annotation(base) for base in node.bases)
        kind = next((kind for kind in bases if kind), None)
        if kind:
            self.world.aliases.setdefault(node.name, kind)
            self.world.results.setdefault(node.name, kind)
        outer, self.class_kind = self.class_kind, kind
        self.generic_visit(node)
        self.class_kind = outer

    def visit_Match(self, node: ast.Match) -> None:
        """What a pattern captures."""
        for case in node.cases:
            self._capture(case.pattern, self.kind_of(node.subject))
        self.generic_visit(node)

    def _capture(self, pattern: ast.pattern, kind: Kind | None) -> None:
        if isinstance(pattern, ast.MatchAs):
            for part in ast.walk(pattern):
                if isinstance(part, ast.MatchClass):
                    kind = kind or self.world.of_annotation(part.cls)
            if pattern.name:
                self.bind(ast.Name(pattern.name, ast.Store()), kind)
            if pattern.pattern:
                self._capture(pattern.pattern, kind)
        elif isinstance(pattern, ast.MatchOr):
            for part in pattern.patterns:
                self._capture(part, kind)
        elif isinstance(pattern, ast.MatchSequence | ast.MatchMapping):
            for part in pattern.patterns:
                self._capture(part, kind and kind.inside)
        elif isinstance(pattern, ast.MatchClass):
            for part in pattern.patterns:  # `set(a)` captures the whole
                self._capture(part, self.world.of_annotation(pattern.cls))
            for field, part in zip(pattern.kwd_attrs, pattern.kwd_patterns, strict=True):
                self._capture(part, self.world.fields.get(field))

"""State outside the exchange, for the determinism check: what is bound in a file or a class and
changes while commands are executed, which no snapshot holds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.tidy.spelling import last_name

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = Iterator[tuple[ast.AST, str]]

MAKES_MUTABLE: Final = {
    *("dict", "list", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"),
    *("ChainMap", "SortedDict", "SortedList", "SortedKeyList", "SortedSet", "SimpleNamespace"),
}
ITERATORS: Final = {"iter", "map", "filter", "zip", "enumerate", "reversed"}
DISPLAYS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CHANGES: Final = {
    *("append", "appendleft", "extend", "extendleft", "insert", "remove", "pop", "popleft"),
    *("popitem", "clear", "add", "discard", "update", "setdefault", "sort", "reverse", "rotate"),
    *("subtract", "move_to_end", "intersection_update", "difference_update", "__setitem__"),
    *("symmetric_difference_update", "__delitem__", "__setattr__", "__next__", "fill", "put"),
    *("resize", "send"),
}
# Functions that change their first argument.
CHANGE_FIRST: Final = {
    *("setattr", "delattr", "next", "heappush", "heappop", "heapify", "heapreplace"),
    *("heappushpop", "insort", "insort_left", "insort_right", "setitem", "delitem", "copyto"),
}
# Calls whose result nobody can change.
FIXED: Final = {"tuple", "frozenset", "bytes", "int", "str", "bool", "range", "Struct", "field"}


def hidden_state(tree: ast.Module) -> Found:
    """What in a file keeps state outside the exchange, and why."""
    changing = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _changes(node)
    }
    yield from _shared(tree.body, changing)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from _shared(node.body, changing)
            yield from _fields(node)
        elif isinstance(node, Function | ast.Lambda):
            yield from _defaults(node)
    yield from _Changes(tree).found


def _mutable(node: ast.expr | None) -> bool:
    return isinstance(node, DISPLAYS) or (
        isinstance(node, ast.Call) and last_name(node.func) in MAKES_MUTABLE
    )


def _advances(node: ast.expr | None) -> bool:
    """An iterator: whoever takes from it changes it."""
    if isinstance(node, ast.GeneratorExp):
        return True
    if not isinstance(node, ast.Call):
        return False
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    return last_name(node.func) in ITERATORS or (owner is not None and _is_itertools(owner))


def _is_itertools(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "itertools"


def _changes(node: ast.ClassDef) -> bool:
    """Whether objects of a class change after they are made."""
    return any(
        isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and last_name(part.value) == "self"
        for method in node.body
        if isinstance(method, Function) and method.name not in {"__init__", "__post_init__"}
        for part in ast.walk(method)
    )


def _shared(body: list[ast.stmt], changing: set[str]) -> Found:
    """Iterators, and objects that change themselves, that a file or a class holds."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            value = node.value
            if isinstance(value, ast.Call) and last_name(value.func) in changing:
                yield node, f"it changes, and all share it: {ast.unparse(node)[:60]}"
            counts = value is not None and any(
                isinstance(part, ast.Attribute)
                and _is_itertools(part.value)
                and part.attr in {"count", "cycle"}
                for part in ast.walk(value)
            )
            if counts or _advances(value):
                yield node, f"an iterator that all share: {ast.unparse(node)[:60]}"


def _fields(node: ast.ClassDef) -> Found:
    """Fields of a class that every exchange would share."""
    for part in node.body:
        if isinstance(part, ast.Assign | ast.AnnAssign) and _mutable(part.value):
            yield part, f"every {node.name} shares {ast.unparse(part)[:60]}"


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Found:
    """Defaults are made once."""
    for default in (*node.args.defaults, *node.args.kw_defaults):
        made = isinstance(default, ast.Call) and last_name(default.func) not in FIXED
        if default is not None and (made or _mutable(default) or _advances(default)):
            yield default, f"every call shares the default {ast.unparse(default)[:60]}"


def _targets(body: list[ast.stmt]) -> Iterator[str]:
    """Names that a file binds itself, outside of functions."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name
        else:
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id


class _Changes(ast.NodeVisitor):
    """Functions that change what the file, a class or a function object holds."""

    def __init__(self, tree: ast.Module) -> None:
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            for name in (alias.name, alias.asname or alias.name)
        }
        self.shared = {*_targets(tree.body), *imported}
        # Modules, classes and functions: calling their members changes nothing in them by itself.
        self.called = {
            *(node.name for node in tree.body if isinstance(node, Function | ast.ClassDef)),
            *(name for name in imported if not name.isupper()),
            "np",
        }
        self.locals: list[set[str]] = []
        self.found: list[tuple[ast.AST, str]] = []
        self.visit(tree)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer = self.shared
        arguments = [part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)]
        bound = {*_targets(node.body), *arguments}
        for part in ast.walk(node):
            # Another name for a thing that is shared is shared too.
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.Name | ast.Attribute):
                names = {target.id for target in part.targets if isinstance(target, ast.Name)}
                if self._root(part.value) and not (names & self.called):
                    bound -= names
                    self.shared = self.shared | names
        self.locals.append(bound)
        self.generic_visit(node)
        self.locals.pop()
        self.shared = outer

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def _root(self, node: ast.expr) -> str | None:
        """The shared thing an expression reaches into; None when it is the function's own."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Attribute) and node.attr == "__class__":
                return "__class__"
            node = node.value
        if isinstance(node, ast.Call) and last_name(node.func) == "type":
            return "type()"
        if not isinstance(node, ast.Name):
            return None
        if node.id == "cls":
            return "cls"
        own = any(node.id in names for names in self.locals)
        return node.id if node.id in self.shared and not own else None

    def _changed(self, node: ast.AST, owner: ast.expr) -> None:
        if self.locals and self._root(owner):
            what = f"a function changes what all share: {ast.unparse(node)[:60]}"
            self.found.append((node, what))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """`a |= b`, where `a` is another name for what is shared."""
        if isinstance(node.target, ast.Name):
            self._changed(node, node.target)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`A.n = 1`, `A.n += 1`, `del A.n`."""
        if not isinstance(node.ctx, ast.Load):
            self._changed(node, node.value)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """`A[n] = 1`."""
        if not isinstance(node.ctx, ast.Load):
            self._changed(node, node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`A.append(1)`, `next(A)`."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            owner = node.func.value
            direct = isinstance(owner, ast.Name) and owner.id in {*self.called, "cls"}
            if not direct and not (isinstance(owner, ast.Call)):
                self._changed(node, owner)
        if last_name(node.func) in CHANGE_FIRST and node.args:
            self._changed(node, node.args[0])
        self.generic_visit(node)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        """A closure that counts."""
        self.found.append((node, f"nonlocal {', '.join(node.names)}"))

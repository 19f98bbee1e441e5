"""Which expressions are text, for the determinism check: what is annotated `str` in any file of the
rooms, and what comes out of it by the methods of str.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final

from tests.tidy.spelling import last_name

GIVES_TEXT: Final = {
    *("decode", "join", "replace", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix"),
    *("zfill", "ljust", "rjust", "center", "format", "lower", "upper", "hex", "translate"),
}
GIVES_TEXTS: Final = {"split", "rsplit", "partition", "rpartition", "splitlines"}


class Texts:
    """Names and fields that are text, in all files."""

    def __init__(self, trees: Iterable[ast.Module]) -> None:
        self.names: set[str] = set()
        self.functions: set[str] = set()
        # Containers of texts.
        self.many: set[str] = set()
        trees = list(trees)
        for tree in trees * 2:
            for node in ast.walk(tree):
                self._note(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.arg) and _says_texts(node.annotation):
            self.many.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and _says_texts(node.annotation):
            self.many.add(last_name(node.target))
        elif isinstance(node, ast.arg) and _says_text(node.annotation):
            self.names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and _says_text(node.annotation):
            self.names.add(last_name(node.target))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _says_text(node.returns):
            self.functions.add(node.name)
        elif isinstance(node, ast.Assign) and self.is_text(node.value):
            self.names.update(map(last_name, node.targets))
        elif isinstance(node, ast.Assign) and self.are_texts(node.value):
            for target in node.targets:
                if isinstance(target, ast.Tuple | ast.List):
                    self.names.update(map(last_name, target.elts))
        elif isinstance(node, ast.For | ast.comprehension) and (
            self.is_text(node.iter) or self.are_texts(node.iter)
        ):
            self.names.add(last_name(node.target))

    def is_text(self, node: ast.expr) -> bool:
        """Whether an expression is text, as far as known."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str)
        if isinstance(node, ast.Name | ast.Attribute):
            return last_name(node) in self.names
        if isinstance(node, ast.Subscript):
            return self.is_text(node.value) or self.are_texts(node.value)
        if isinstance(node, ast.Call):
            name = last_name(node.func)
            method = isinstance(node.func, ast.Attribute) and name in GIVES_TEXT
            return method or name == "str" or name in self.functions
        if isinstance(node, ast.BinOp):
            return self.is_text(node.left)
        return isinstance(node, ast.JoinedStr)

    def are_texts(self, node: ast.expr) -> bool:
        """Whether what is inside is text."""
        return last_name(node) in self.many or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in GIVES_TEXTS
        )


def _says_text(node: ast.expr | None) -> bool:
    """`str`, `"str"`, `str | None`, `Final[str]`."""
    if isinstance(node, ast.BinOp):
        return _says_text(node.left) or _says_text(node.right)
    if isinstance(node, ast.Subscript) and last_name(node.value) in {"Final", "Optional"}:
        return _says_text(node.slice)
    if isinstance(node, ast.Constant):
        return node.value == "str"
    return isinstance(node, ast.Name) and node.id == "str"


def _says_texts(node: ast.expr | None) -> bool:
    """`list[str]`, `tuple[str, ...]`, `dict[int, str]`."""
    if not isinstance(node, ast.Subscript) or last_name(node.value) in {"Final", "Optional"}:
        return False
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    kinds = [part for part in inner if not isinstance(part, ast.Constant)]
    return bool(kinds) and _says_text(kinds[-1])

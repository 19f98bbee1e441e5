"""One spelling for what a file imports: a rule about `np.array` also sees `n.array`, `array` and
`make` after `import numpy as n`, `from numpy import array`, `make = np.array`.
"""

from __future__ import annotations

import ast
from typing import Final

# What is imported from these is known by its own name alone, as the rooms' own things are.
BY_NAME: Final = {
    *("__future__", "abc", "collections", "dataclasses", "enum", "types", "typing"),
    *("sortedcontainers", "dexcore", "dexkline", "dexruntime"),
}


def last_name(node: ast.expr) -> str:
    """`set` of `set`, `AbstractSet` of `collections.abc.AbstractSet`, "" of anything else."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def parse(text: str) -> ast.Module:
    """The tree of a file with every import under its own name; lines stay what they are."""
    tree = ast.parse(text)
    respelled = _Spelling(tree).visit(tree)
    assert isinstance(respelled, ast.Module)
    return ast.fix_missing_locations(respelled)


class _Spelling(ast.NodeTransformer):
    """Replaces names by what they stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self.names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._import(node)
            elif isinstance(node, ast.ImportFrom):
                self._import_from(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                self._assign(node)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.asname:
                self.names[alias.asname] = _short(alias.name)
            elif alias.name.partition(".")[0] == "numpy":
                self.names["numpy"] = "np"

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        for alias in node.names:
            plain = module.partition(".")[0] in BY_NAME
            spelled = alias.name if plain else f"{_short(module)}.{alias.name}"
            if spelled != (alias.asname or alias.name):
                self.names[alias.asname or alias.name] = spelled
            if plain:
                alias.asname = None

    def _assign(self, node: ast.Assign) -> None:
        """`make = np.array` is a name for it too."""
        spelled = self._dotted(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and spelled and target.id != spelled:
                self.names.setdefault(target.id, spelled)

    def _dotted(self, node: ast.expr) -> str | None:
        """The full name of a member of a module; None of anything else."""
        if isinstance(node, ast.Attribute):
            owner = self._dotted(node.value)
            return owner and f"{owner}.{node.attr}"
        if isinstance(node, ast.Name):
            known = {"np", "json", "functools", "itertools", "math", "operator", "struct"}
            return self.names.get(node.id, node.id if node.id in known else None)
        return None

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name that is read."""
        spelled = self.names.get(node.id)
        if spelled is None or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.parse(spelled, mode="eval").body, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`getattr(a, 'b')` is `a.b`."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and str(name.value).isidentifier():
                member = ast.Attribute(node.args[0], str(name.value), ast.Load())
                return ast.copy_location(member, node)
        return node


def _short(module: str) -> str:
    """`np` of `numpy`, the name of any other."""
    return "np" + module[5:] if module.partition(".")[0] == "numpy" else module

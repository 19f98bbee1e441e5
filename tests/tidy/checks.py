"""The house rules that ruff and mypy do not know, each as a function over one file.

A check takes the path (relative to the checkout) and the text, and yields findings that say what
is wrong and how to mend it. `PURE` rooms hold to more: they are the part that replay must repeat.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
SLEEPS = {"time.sleep", "trio.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep_until"}
FAKE_CLOCKS = {"autojump_clock", "mock_clock"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Check = Callable[[str, str], Iterator[str]]


def file_length(path: str, text: str) -> Iterator[str]:
    """A long file has a second subject."""
    lines = text.count("\n")
    if path.endswith((".py", ".proto")) and lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines, at most {FILE_LINES_MAX}; mend: move the second subject out"


def function_length(path: str, text: str) -> Iterator[str]:
    """A long function does more than its name says. Its docstring is not counted."""
    for function in nodes_of(path, text):
        if not isinstance(function, Function):
            continue
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
        lines = (function.end_lineno or 0) - function.lineno + 1 - docstring
        if lines > FUNCTION_LINES_MAX:
            yield (
                f"{path}:{function.lineno}: {function.name} has {lines} lines, at most "
                f"{FUNCTION_LINES_MAX}; mend: name its steps and call them"
            )


def left_over(path: str, text: str) -> Iterator[str]:
    """What is left for later is forgotten in a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"\b(TOD[O]|FIXM[E])\b", line):
            yield f"{path}:{number}: a note to self; mend: do it or open an issue"


def addresses(path: str, text: str) -> Iterator[str]:
    """A mirror's host or a path of one machine does not belong to everybody."""
    hosts = r"https?://(registry|files|proxy|index|mirror|artifact)[\w-]*\.[\w.-]+|pypi\.org/simple"
    local = r"(?<![\w.])/(root|home/\w+|work|Users/\w+)/"
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.search(f"{hosts}|{local}", line):
            yield (
                f"{path}:{number}: {found[0]}; mend: leave registries to the installer's settings "
                "and find paths from the checkout"
            )


def one_title(path: str, text: str) -> Iterator[str]:
    """A page has one title."""
    if not path.endswith(".md"):
        return
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = len(re.findall(r"^# ", outside, re.MULTILINE))
    if titles != 1:
        yield f"{path}: {titles} titles; mend: one `# title`, then `##`"


def sleeping(path: str, text: str) -> Iterator[str]:
    """A test that sleeps is slow when it passes and flaky when it does not.

    Polling in a loop and sleeping on a clock the test drives are no sleep.
    """
    if not path.startswith("tests/") or not path.endswith(".py"):
        return
    lines = text.splitlines()
    for call, parents in with_parents(ast.parse(text)):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) not in SLEEPS:
            continue
        arguments = {arg.arg for p in parents if isinstance(p, Function) for arg in p.args.args}
        polls = any(isinstance(parent, ast.While | ast.For | ast.AsyncFor) for parent in parents)
        yields = bool(call.args) and ast.unparse(call.args[0]) == "0"
        if not (
            polls or yields or arguments & FAKE_CLOCKS or "# sleeps:" in lines[call.lineno - 1]
        ):
            yield (
                f"{path}:{call.lineno}: {ast.unparse(call)}; mend: wait for an event, poll with a "
                "deadline, or take autojump_clock; where waiting is the subject, `# sleeps: why`"
            )


def floors(path: str, text: str) -> Iterator[str]:
    """Without a floor a resolver may answer a conflict with a release of many years ago."""
    if PurePosixPath(path).name != "pyproject.toml":
        return
    project = tomllib.loads(text)
    lists = [project["build-system"]["requires"], project["project"]["dependencies"]]
    lists += project["project"].get("optional-dependencies", {}).values()
    lists += project.get("dependency-groups", {}).values()
    for requirement in itertools.chain.from_iterable(lists):
        if not re.search(r">=|==", requirement):
            yield f"{path}: {requirement} has no floor; mend: {requirement}>=the tested release"


@functools.lru_cache(maxsize=8)
def nodes_of(path: str, text: str) -> tuple[ast.AST, ...]:
    """Every node of a Python file; nothing for other files."""
    return tuple(ast.walk(ast.parse(text))) if path.endswith(".py") else ()


def with_parents(tree: ast.AST) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    """Every node below `tree` with the nodes around it, outermost first."""
    stack: list[tuple[ast.AST, list[ast.AST]]] = [(tree, [])]
    while stack:
        node, parents = stack.pop()
        yield node, parents
        stack += [(child, [*parents, node]) for child in ast.iter_child_nodes(node)]


CHECKS: tuple[Check, ...] = (
    file_length,
    function_length,
    left_over,
    addresses,
    one_title,
    sleeping,
    floors,
)

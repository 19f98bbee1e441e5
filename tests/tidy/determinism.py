"""The determinism check: what docs/determinism.md forbids in `dexcore` and `dexkline`, and the
rules about order in `dexruntime` too.

Each finding begins with the id of its rule, says where, and how to mend it. An exception is a
comment on the line, with the rule and a reason: `# deterministic: det-set-order, only its size
leaves this function`. One that nothing needs any more is a finding itself.
"""

from __future__ import annotations

import ast
import re
import string
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from tests.tidy.hidden import hidden_state
from tests.tidy.kinds import SET, SET_METHODS, Inference, Walker, World
from tests.tidy.spelling import last_name, parse

# What each room may import; everything else brings in a clock, chance, I/O or another room.
PLAIN: Final = {
    *("__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib"),
    *("heapq", "itertools", "json", "math", "operator", "struct", "types", "typing", "zlib"),
}
ROOMS: Final[dict[str, set[str]]] = {
    "core/dexcore/": {*PLAIN, "dexcompiled", "dexcore", "sortedcontainers"},
    "core/dexkline/": {*PLAIN, "dexcore", "dexkline", "numpy"},
}
# The runtime has a clock and a disk, but what it derives from the journal is in a snapshot too.
IN_RUNTIME: Final = {"det-set-order", "det-object-order", "det-exception"}
RUNTIME: Final = "core/dexruntime/"
RULES: Final[dict[str, str]] = {
    "det-import": "take its result as an argument (time, ids and chance are journaled inputs)",
    "det-builtin": "take its result as an argument; nothing is read, printed or evaluated here",
    "det-float": "integers, `//`, and a named rounding side",
    "det-array-type": "name the dtype: an empty list makes a float array",
    "det-layout": "say the byte order: `<` in formats, widths with a number in dtypes",
    "det-set-order": "sorted(...) without a key, or a dict in the place of the set",
    "det-object-order": "compare and hash what is in the object: hashlib over canonical bytes",
    "det-unstable-sort": 'kind="stable", or lexsort: the order of equals is the CPU\'s',
    "det-json-order": "sort_keys=True: a restored dict has another order",
    "det-unicode": "compare code points: these tables change with the Python version",
    "det-machine-failure": "catch the error you expect: memory and recursion run out by machine",
    "det-hidden-state": "keep it in the exchange, where a snapshot finds it",
    "det-assert": "dexcore.invariant.check: `python -O` leaves assertions out",
    "det-exception": "remove the comment, or give rule and reason: `# deterministic: RULE, reason`",
}
EXCEPTION: Final = re.compile(r"#\s*deterministic:\s*(?P<rule>[\w-]*)(?:,\s*(?P<reason>.*))?")
REASON_WORDS_MIN: Final = 3

BUILTINS: Final = {
    *("open", "input", "print", "breakpoint", "eval", "exec", "compile", "__import__", "globals"),
    *("locals", "vars", "dir"),
}
INTEGER_MATH: Final = {"isqrt", "gcd", "lcm", "comb", "perm", "factorial", "prod"}
FLOAT_NAMES: Final = {
    *("float16", "float32", "float64", "float128", "longdouble", "floating", "double", "single"),
    *(
        "__truediv__",
        "__rtruediv__",
        "half",
        "complex64",
        "complex128",
        "inexact",
        "true_divide",
        "divide",
        "truediv",
        "mean",
    ),
    *("average", "median", "std", "var", "nanmean", "percentile", "quantile", "sqrt", "exp", "log"),
    *("log2", "log10", "linspace", "reciprocal", "interp", "corrcoef"),
}
OUTSIDE_NUMPY: Final = {
    *("random", "load", "save", "savez", "savetxt", "loadtxt", "fromfile", "tofile", "memmap"),
    *("genfromtxt", "fromregex", "DataSource", "ctypeslib", "seterr", "set_printoptions"),
    # datetime64("now") is a clock.
    *("datetime64", "timedelta64"),
}
MAKES_ARRAY: Final = {
    # The position of the dtype among the arguments.
    "array": 1,
    "asarray": 1,
    "asanyarray": 1,
    "ascontiguousarray": 1,
    "ndarray": 1,
    "identity": 1,
    "eye": 3,
    "empty": 1,
    "zeros": 1,
    "ones": 1,
    "fromiter": 1,
    "frombuffer": 1,
    "full": 2,
    "arange": 3,
}
ANY_WIDTH: Final = {"int_", "uint", "intc", "uintc", "long", "ulong", "longlong", "ulonglong"}
FLOAT_FORMATS: Final = re.compile(r"[efdg]")
FLOAT_DTYPE: Final = re.compile(r"[<>=|]?(f\d*|d|e|g|float\d*)")
CLOCK_DTYPE: Final = re.compile(r"[<>=|]?[mM]8.*|(datetime|timedelta)64.*")
PRINTS_FLOAT: Final = re.compile(r"%(\([^)]*\))?[#0 +-]*[*\d]*(\.[*\d]*)?[eEfFgG]")
FLOAT_SPECS: Final = ("e", "E", "f", "F", "g", "G", "n", "%")
UNICODE_TABLES: Final = {
    *("lower", "upper", "casefold", "title", "swapcase", "capitalize", "isalnum", "isalpha"),
    *("isdigit", "isdecimal", "isnumeric", "isidentifier", "isprintable", "islower", "isupper"),
    *("istitle", "isspace", "splitlines"),
}
# Without an argument they take white space as Unicode has it.
WHITE_SPACE: Final = {"strip": 0, "lstrip": 0, "rstrip": 0, "split": 0, "rsplit": 0}
CACHES: Final = {"cache", "lru_cache", "cached_property"}
# Calls whose result does not depend on the order in which they see their argument.
ORDER_FREE: Final = {
    *("len", "set", "frozenset", "sorted", "min", "max", "sum", "any", "all", "bool"),
    *("isinstance", "SortedSet"),
}
SET_ARGUMENT_METHODS: Final = SET_METHODS | {
    *("update", "intersection_update", "difference_update", "symmetric_difference_update"),
    *("issubset", "issuperset", "isdisjoint"),
}
# Calls that change nothing: they may run for each of a set, in any order.
NO_EFFECT: Final = {
    *("len", "min", "max", "sum", "any", "all", "abs", "int", "bool", "str", "bytes", "tuple"),
    *("frozenset", "sorted", "isinstance", "range", "divmod", "ord", "chr", "cast", "index"),
    *("get", "items", "keys", "values", "encode", "to_bytes", "from_bytes", "bit_count", "hex"),
    *("startswith", "endswith", "join", "isqrt", "gcd", "sha256", "digest"),
}
JSON_WRITERS: Final = {"dumps", "dump", "JSONEncoder"}
KEEPS_WHOLE: Final = {"append", "add", "get", "setdefault", "discard", "remove"}
MACHINE: Final = {
    *("Exception", "BaseException", "MemoryError", "RecursionError", "KeyboardInterrupt"),
    *("OSError", "SystemError", "SystemExit", "GeneratorExit"),
}


def room_of(path: str) -> str | None:
    """The room a file lies in that the contract is about."""
    return next((room for room in (*ROOMS, RUNTIME) if path.startswith(room)), None)


def check(texts: Mapping[str, str]) -> Iterator[str]:
    """Findings in the files of the pure rooms among `texts`, which are read as one."""
    pure = {path: text for path, text in texts.items() if room_of(path) and path.endswith(".py")}
    world = World(pure)
    for path, text in pure.items():
        yield from check_file(path, text, world)


def check_file(path: str, text: str, world: World) -> Iterator[str]:
    """Findings in one file, without those that a comment excepts."""
    tree = parse(text)
    # The names of every function, from the same pass that filled the world.
    names = Inference(world)
    names.visit(tree)
    rules = Rules(world, names, room_of(path) or "")
    rules.visit(tree)
    for node, what in hidden_state(tree):
        rules.report(node, "det-hidden-state", what)
    excepted = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := EXCEPTION.search(line):
            excepted[number] = found
    used = set()
    for number, rule, what in sorted(rules.found):
        if rules.room == RUNTIME and rule not in IN_RUNTIME:
            continue
        comment = excepted.get(number)
        if comment and comment["rule"] == rule:
            used.add(number)
            continue
        yield f"{rule}: {path}:{number}: {what}; mend: {RULES[rule]}"
    for number, comment in excepted.items():
        reasoned = len((comment["reason"] or "").split()) >= REASON_WORDS_MIN
        if number not in used or not reasoned:
            what = "no rule needs it" if number not in used else "it says no reason"
            yield f"det-exception: {path}:{number}: {what}; mend: {RULES['det-exception']}"


Options = dict[str | None, ast.expr]


class Rules(Walker):
    """Finds what breaks a rule: (line, rule, what)."""

    def __init__(self, world: World, names: Inference, room: str) -> None:
        super().__init__(world)
        self.scopes, self.kept = names.scopes, names.kept
        self.room = room
        self.found: set[tuple[int, str, str]] = set()
        # Comprehensions whose order nobody sees.
        self.order_free: set[ast.AST] = set()
        # What is called, and so judged together with its arguments.
        self.called: set[ast.AST] = set()

    def report(self, node: ast.AST, rule: str, what: str) -> None:
        """Note a finding."""
        self.found.add((getattr(node, "lineno", 0), rule, what))

    def ordered(self, node: ast.expr, how: str) -> None:
        """`node` is used in its order: it must have one."""
        if self.kind_of(node) == SET:
            self.report(node, "det-set-order", f"{how} a set: {ast.unparse(node)[:60]}")

    # --- what comes in

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b`."""
        for alias in node.names:
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a.b import c`."""
        module = node.module or ""
        self._imported(node, module)
        for alias in node.names:
            owner = "np" if module == "numpy" else module.partition(".")[0]
            self._member(node, owner, alias.name)
            if alias.name == "*" or f"{module}.{alias.name}" == "numpy.random":
                self.report(node, "det-import", f"imports {alias.name} of {module}")

    def _imported(self, node: ast.AST, module: str) -> None:
        if module.partition(".")[0] not in ROOMS.get(self.room, PLAIN) or module == "numpy.random":
            self.report(node, "det-import", f"imports {module}")

    def _member(self, node: ast.AST, owner: str, name: str) -> None:
        if owner == "math" and name not in INTEGER_MATH:
            self.report(node, "det-float", f"math.{name}")
        if owner == "np" and name in OUTSIDE_NUMPY:
            self.report(node, "det-import", f"numpy.{name}")
        if owner in PLAIN and name in sys.stdlib_module_names - PLAIN:
            self.report(node, "det-import", f"{name} by way of {owner}")
        if owner == "functools" and name in CACHES:
            self.report(node, "det-hidden-state", name)
        if name in FLOAT_NAMES:
            self.report(node, "det-float", name)
        if owner == "np" and name in ANY_WIDTH:
            self.report(node, "det-layout", f"{name} is wider on some machines")

    def visit_Name(self, node: ast.Name) -> None:
        """Builtins that reach outside, floats, and the identity of objects."""
        if not isinstance(node.ctx, ast.Load):
            return
        if node.id in {"id", "hash", "repr", "ascii"}:
            self.report(node, "det-object-order", f"{node.id}()")
        elif node.id in BUILTINS:
            self.report(node, "det-builtin", f"{node.id}()")
        elif node.id in {"float", "complex"}:
            self.report(node, "det-float", node.id)
        elif node.id == "__debug__":
            self.report(node, "det-assert", "__debug__")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Members of modules by the name they are used under."""
        self._member(node, last_name(node.value), node.attr)
        if node.attr in UNICODE_TABLES and self.world.texts.is_text(node.value):
            self.report(node, "det-unicode", f".{node.attr}")
        if last_name(node.value) == "str" and node.attr in UNICODE_TABLES | WHITE_SPACE.keys():
            self.report(node, "det-unicode", f"str.{node.attr}")
        if (
            last_name(node.value) == "json"
            and node.attr in JSON_WRITERS
            and node not in self.called
        ):
            self.report(node, "det-json-order", f"hands on json.{node.attr}")
        if node.attr == "__iter__" and self.kind_of(node.value) == SET:
            self.ordered(node.value, "iterates")
        if node.attr in {"__hash__", "__repr__", "__str__"}:
            self.report(node, "det-object-order", node.attr)
        elif node.attr == "tofile":
            self.report(node, "det-builtin", ".tofile")
        self.generic_visit(node)

    # --- numbers

    def visit_Constant(self, node: ast.Constant) -> None:
        """Literals."""
        if isinstance(node.value, float | complex):
            self.report(node, "det-float", f"the literal {node.value}")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """True division, negative powers, and sets in a format."""
        inverse = isinstance(node.op, ast.Pow) and _negative(node.right)
        if isinstance(node.op, ast.Div) or inverse:
            self.report(node, "det-float", ast.unparse(node)[:60])
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
            parts = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            for part in parts:
                self.ordered(part, "prints")
            text = node.left.value
            text = text.decode("latin1") if isinstance(text, bytes) else text
            if isinstance(text, str) and PRINTS_FLOAT.search(text.replace("%%", "")):
                self.report(node, "det-float", f"the format {text!r}")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """`a /= b`, and a list that grows by a set."""
        inverse = isinstance(node.op, ast.Pow) and _negative(node.value)
        if isinstance(node.op, ast.Div) or inverse:
            self.report(node, "det-float", ast.unparse(node)[:60])
        if isinstance(node.op, ast.Add):
            self.ordered(node.value, "appends")
        self.generic_visit(node)

    # --- order

    def visit_For(self, node: ast.For) -> None:
        """Loops."""
        self.ordered(node.iter, "iterates")
        self.generic_visit(node)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if node not in self.order_free:
            for part in node.generators:
                self.ordered(part.iter, "iterates")
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """A set of a set has no order; what is done for each of it has one."""
        if not _without_effect(node):
            for part in node.generators:
                self.ordered(part.iter, "does something for each of")
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_DictComp = _comprehension

    def visit_Starred(self, node: ast.Starred) -> None:
        """`f(*a)` and `[*a]`; in a set display the order is lost again."""
        if isinstance(node.ctx, ast.Load) and node not in self.order_free:
            self.ordered(node.value, "unpacks")
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        """`{*a, *b}`."""
        self.order_free.update(node.elts)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """`a, b = pair` and `a[:] = all`."""
        for target in node.targets:
            sliced = isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice)
            if sliced:
                self.ordered(node.value, "unpacks")
            self._unpacked(target, node.value)
        self.generic_visit(node)

    def _unpacked(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            self.ordered(value, "unpacks")
            if isinstance(value, ast.Tuple | ast.List):
                for inner, part in zip(target.elts, value.elts, strict=False):
                    self._unpacked(inner, part)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        """A generator that passes a set on."""
        self.ordered(node.value, "iterates")
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """An f-string."""
        self.ordered(node.value, "prints")
        if isinstance(node.format_spec, ast.JoinedStr) and node.format_spec.values:
            self._spec(node, _literal(node.format_spec.values[-1]))
        self.generic_visit(node)

    def _spec(self, node: ast.AST, spec: str | None) -> None:
        """`.2f` after a colon."""
        if spec is not None and spec.endswith(FLOAT_SPECS):
            self.report(node, "det-float", f"the format {spec!r}")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """An encoder of json has its own idea of order."""
        if "JSONEncoder" in map(last_name, node.bases):
            self.report(node, "det-json-order", f"{node.name} is a JSONEncoder")
        self.called.update(node.bases)
        self.generic_visit(node)

    # --- calls

    def visit_Call(self, node: ast.Call) -> None:
        """Everything that is told by who is called with what."""
        name = last_name(node.func)
        options = {option.arg: option.value for option in node.keywords}
        keyed = "key" in options
        self.called.add(node.func)
        adds_up = name != "sum" or (len(node.args) == 1 and not options)
        if isinstance(node.func, ast.Name) and name in ORDER_FREE and not keyed and adds_up:
            self.order_free.update(part for part in node.args if _without_effect(part))
        else:
            self._set_arguments(node, name)
        if isinstance(node.func, ast.Attribute):
            self._method(node, node.func, options)
        self._format(node, name, options)
        self._array(node, name, options)
        self._number(node, name)
        self._key(options.get("key"))
        if name in JSON_WRITERS and ast.unparse(options.get("sort_keys", node)) != "True":
            self.report(node, "det-json-order", ast.unparse(node)[:60])
        self.generic_visit(node)

    def _number(self, node: ast.Call, name: str) -> None:
        """Numbers that become text, and texts that become numbers."""
        arguments = node.args
        if name in {"format", "__format__"} and arguments:
            self._spec(node, _literal(arguments[-1]))
        if name == "format" and isinstance(node.func, ast.Attribute):
            template = _literal(node.func.value)
            for _, _, spec, _ in string.Formatter().parse(template or ""):
                self._spec(node, spec)
        if name == "pow" and len(arguments) == 2 and _negative(arguments[1]):
            self.report(node, "det-float", ast.unparse(node)[:60])
        texts = self.world.texts
        parses = name == "int" and (len(arguments) > 1 or any(map(texts.is_text, arguments)))
        maps = name == "map" and "int" in map(last_name, arguments[:1])
        if parses or (maps and any(map(texts.are_texts, arguments))):
            self.report(node, "det-unicode", f"other digits too: {ast.unparse(node)[:60]}")

    def _key(self, key: ast.expr | None) -> None:
        """A key that prints what it orders."""
        prints = {"repr", "ascii", "str", "format"}
        for part in ast.walk(key) if key is not None else ():
            printed = isinstance(part, ast.Name) and part.id in prints
            if printed or isinstance(part, ast.JoinedStr):
                self.report(part, "det-object-order", f"orders by {ast.unparse(part)[:60]}")

    def _set_arguments(self, node: ast.Call, name: str) -> None:
        """A set is handed over: to somebody who sees its order, unless known otherwise."""
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if owner is not None:
            if name in KEEPS_WHOLE and last_name(owner) != "np":
                return
            on_set = self.kind_of(owner) == SET or last_name(owner) in {"set", "frozenset"}
            if on_set and name in SET_ARGUMENT_METHODS:
                return
        takes = self.world.set_arguments.get(name, set())
        for number, argument in enumerate(node.args):
            if number not in takes and not isinstance(argument, ast.Starred):
                self.ordered(argument, f"{name}() may iterate")
        for option in node.keywords:
            if option.arg not in takes:
                self.ordered(option.value, f"{name}() may iterate")

    def _method(self, node: ast.Call, method: ast.Attribute, options: Options) -> None:
        name, owner = method.attr, self.kind_of(method.value)
        if name == "pop" and owner == SET:
            self.report(node, "det-set-order", f"takes any of a set: {ast.unparse(node)[:60]}")
        if name in UNICODE_TABLES:
            self.report(node, "det-unicode", f".{name}()")
        separator = node.args[0] if node.args else options.get("sep")
        none = separator is None or ast.unparse(separator) == "None"
        if name in WHITE_SPACE and none and not _is_bytes(method.value):
            self.report(node, "det-unicode", f".{name}() of white space")
        stable = ast.unparse(options.get("kind", node)) in {"'stable'", "'mergesort'"}
        if name in {"argsort", "argpartition", "partition"} and not stable:
            # str.partition takes a text.
            text = node.args and isinstance(node.args[0], ast.Constant)
            if name != "partition" or not text:
                self.report(node, "det-unstable-sort", ast.unparse(node)[:60])

    def _format(self, node: ast.Call, name: str, options: Options) -> None:
        """struct formats and dtypes in quotes."""
        if name in {"Struct", "pack", "unpack", "unpack_from", "pack_into", "iter_unpack"}:
            text = _literal(node.args[0]) if node.args else None
            if text is not None and text[:1] not in {"<", ">", "!"}:
                self.report(node, "det-layout", f"the format {text!r}")
            if text is not None and FLOAT_FORMATS.search(text):
                self.report(node, "det-float", f"the format {text!r}")
        if name in {*MAKES_ARRAY, "astype", "dtype", "view"} or "dtype" in options:
            texts = [_literal(part) for part in (*node.args, *(o.value for o in node.keywords))]
            for text in texts:
                if text is not None and FLOAT_DTYPE.fullmatch(text):
                    self.report(node, "det-float", f"the dtype {text!r}")
                if text is not None and CLOCK_DTYPE.fullmatch(text):
                    self.report(node, "det-import", f"a clock: the dtype {text!r}")

    def _array(self, node: ast.Call, name: str, options: Options) -> None:
        on_numpy = isinstance(node.func, ast.Attribute) and last_name(node.func.value) == "np"
        typed = "dtype" in options or len(node.args) > MAKES_ARRAY.get(name, 0)
        if on_numpy and name in MAKES_ARRAY and not typed:
            self.report(node, "det-array-type", ast.unparse(node)[:60])

    # --- the machine

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """What the machine ran out of is no outcome."""
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        for kind in kinds:
            name = "everything" if kind is None else last_name(kind)
            if kind is None or name in MACHINE:
                self.report(node, "det-machine-failure", f"catches {name}")
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Assertions are not always there."""
        self.report(node, "det-assert", ast.unparse(node)[:60])
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        """State outside the exchange."""
        self.report(node, "det-hidden-state", f"global {', '.join(node.names)}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Finalizers."""
        if node.name == "__del__":
            self.report(node, "det-hidden-state", "__del__ runs when the collector likes")
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Whoever awaits lets a scheduler choose."""
        self.report(node, "det-hidden-state", f"async def {node.name}")
        self.generic_visit(node)


def _literal(node: ast.expr) -> str | None:
    """A text in quotes, of an f-string the first part."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return _literal(node.values[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _negative(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _is_bytes(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bytes)


def _without_effect(node: ast.expr) -> bool:
    """Whether a comprehension does nothing but look at what it goes over."""
    if not isinstance(node, ast.GeneratorExp | ast.SetComp):
        return True
    parts = [node.elt, *(test for each in node.generators for test in each.ifs)]
    return not any(
        isinstance(inner, ast.NamedExpr | ast.Yield | ast.Await)
        or (isinstance(inner, ast.Call) and last_name(inner.func) not in NO_EFFECT)
        for part in parts
        for inner in ast.walk(part)
    )

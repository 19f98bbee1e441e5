"""`dexcore` and `dexkline` keep docs/determinism.md, and the check finds what would break it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy import determinism
from tests.tidy.determinism import RULES

ROOT = Path(__file__).parents[2]
HEAD = "import numpy as np\n"
SEEN = "seen: set[int] = set()\n"

# Each is found by exactly this rule.
BROKEN: dict[str, list[str]] = {
    "det-import": [
        "import time\n",
        "import random\n",
        "from secrets import token_bytes\n",
        "import uuid\n",
        "import os\n",
        "from datetime import datetime\n",
        "import locale\n",
        "import threading\n",
        "import weakref\n",
        "import msgspec\n",
        "from dexruntime import clock\n",
        HEAD + "x = np.random.default_rng()\n",
        "from numpy import random\n",
        "import numpy.random\n",
        "import numpy as n\nx = n.random.default_rng()\n",
        "import numpy as n\nmake = n.random\nx = make.default_rng()\n",
        "from numpy import random as r\n",
        "from numpy import *\n",
        HEAD + "x = getattr(np, 'random')\n",
        HEAD + "x = np.datetime64('now')\n",
        "from numpy import datetime64 as d\nx = d('today')\n",
        HEAD + "x = np.array(['now'], 'M8[s]')\n",
        "import dataclasses as d\nx = d.sys.argv\n",
    ],
    "det-builtin": [
        "x = open('a').read()\n",
        "print('a')\n",
        "x = eval('1')\n",
        "x = __import__('time').time()\n",
        "read = input\n",
    ],
    "det-float": [
        "x = 0.5\n",
        "x = 1e9\n",
        "x = 1j\n",
        "def f(a: int) -> int:\n    return int(a / 2)\n",
        "def f(a: int) -> int:\n    a /= 2\n    return a\n",
        "x = float('1')\n",
        "def f(a: float) -> int: ...\n",
        "x = 10 ** -8\n",
        "import math\nx = math.sqrt(4)\n",
        "from math import ceil\n",
        "import operator\nx = operator.truediv\n",
        HEAD + "x = np.float64\n",
        HEAD + "x = np.zeros(3, 'f8')\n",
        HEAD + "x = np.zeros(3, dtype='<f4')\n",
        HEAD + "def f(a: np.ndarray) -> int:\n    return int(a.mean())\n",
        "import struct\nx = struct.Struct('<qd')\n",
        "def f(a: int) -> str:\n    return f'{a:.2f}'\n",
        "def f(a: int, b: int) -> str:\n    return f'{a:>{b}.1%}'\n",
        "def f(a: int) -> str:\n    return '%.2e' % a\n",
        "def f(a: int) -> bytes:\n    return b'%5d %-8.*g' % (a, 3, a)\n",
        "def f(a: int) -> str:\n    return format(a, '.3f')\n",
        "def f(a: int) -> str:\n    return '{:d} {:.2f}'.format(a, a)\n",
        "def f(a: int) -> int:\n    return pow(a, -1)\n",
        "def f(a: int) -> int:\n    a **= -1\n    return a\n",
        "def f(a: int) -> int:\n    return a.__truediv__(2)\n",
        "from math import sqrt as root\nx = root(4)\n",
        HEAD + "def f(a: np.ndarray) -> int:\n    return int(a.sum(dtype='d'))\n",
    ],
    "det-array-type": [
        HEAD + "x = np.array([])\n",
        HEAD + "x = np.zeros(3)\n",
        HEAD + "x = np.arange(3)\n",
        HEAD + "x = np.full(3, 1)\n",
        "import numpy as n\nx = n.array([])\n",
        "import numpy\nx = numpy.array([])\n",
        "from numpy import array\nx = array([])\n",
        "from numpy import array as a\nx = a([])\n",
        HEAD + "make = np.zeros\nx = make(3)\n",
        HEAD + "x = np.ndarray(3)\n",
    ],
    "det-layout": [
        "import struct\nx = struct.Struct('qq')\n",
        "import struct\nx = struct.pack('=q', 1)\n",
        "import struct\nx = struct.unpack(f'q{3}s', b'')\n",
        HEAD + "x = np.zeros(3, np.int_)\n",
    ],
    "det-set-order": [
        SEEN + "for x in seen: pass\n",
        "for x in {1, 2}: pass\n",
        "x = [a for a in {1, 2}]\n",
        "x = {a: 1 for a in set('ab')}\n",
        "x = list(frozenset('ab'))\n",
        "x = tuple({a for a in 'ab'})\n",
        "x = ','.join({'a', 'b'})\n",
        "x = max({1, 2}, key=abs)\n",
        "x = sorted({1, 2}, key=abs)\n",
        "a, b = {1, 2}\n",
        "x = [*{1, 2}]\n",
        "def g(*a: int) -> None: ...\ng(*{1, 2})\n",
        "x = {1, 2}.pop()\n",
        "x = f'{ {1, 2} }'\n",
        "x = 'a %s' % {1, 2}\n",
        "x = next(iter({1, 2}))\n",
        "x = dict.fromkeys({1, 2})\n",
        "x = [0]\nx += {1, 2}\n",
        "x = [0]\nx.extend({1, 2})\n",
        "def f():\n    yield from {1, 2}\n",
        "def f(a: set[int]) -> list[int]:\n    return list(a)\n",
        "def f(a: set[int] | None) -> None:\n    for x in a or (): pass\n",
        "def f(a: 'frozenset[int]') -> None:\n    for x in a: pass\n",
        "def f() -> set[int]: ...\nfor x in f(): pass\n",
        (
            "from collections.abc import Set as AbstractSet\n"
            "def f(a: AbstractSet[int]) -> None:\n    for x in a: pass\n"
        ),
        "Keys = frozenset[int]\ndef f(a: Keys) -> None:\n    for x in a: pass\n",
        (
            "class A:\n    def __init__(self) -> None:\n        self.a: set[int] = set()\n"
            "def f(b: A) -> None:\n    for x in b.a: pass\n"
        ),
        "class A:\n    a: set[int]\ndef f(b: A) -> None:\n    for x in b.a: pass\n",
        (
            "class A:\n    @property\n    def a(self) -> set[int]: ...\n"
            "def f(b: A) -> None:\n    for x in b.a: pass\n"
        ),
        "def f(a: dict[int, int], b: dict[int, int]) -> None:\n    for x in a.keys() & b: pass\n",
        "def f(a: dict[int, int], b: list[int]) -> None:\n    for x in a.keys() - b: pass\n",
        "def f(a: dict[int, int]) -> None:\n    for x in a.items() ^ a.items(): pass\n",
        "def f(a: set[int], b: set[int]) -> None:\n    for x in a | b: pass\n",
        "def f(a: set[int], b: list[int]) -> None:\n    for x in a.union(b): pass\n",
        "def f(a: set[int], b: list[int]) -> None:\n    for x in set.union(a, b): pass\n",
        "def f(a: dict[int, set[int]]) -> None:\n    for x in a[1]: pass\n",
        (
            "def f(a: dict[int, set[int]]) -> None:\n"
            "    for k, b in a.items():\n        for x in b: pass\n"
        ),
        "def f(a: dict[int, set[int]]) -> None:\n    for b in a.values():\n        list(b)\n",
        "from collections import defaultdict\na = defaultdict(set)\nfor x in a[1]: pass\n",
        "def f(a: list[set[int]]) -> None:\n    b, c = a\n    for x in b: pass\n",
        "def f() -> None:\n    b = a = {1}\n    for x in b: pass\n",
        "def f() -> None:\n    if (a := {1}):\n        for x in a: pass\n",
        "def g(a: list[int]) -> None: ...\ng({1, 2})\n",
        HEAD + "x = np.fromiter({1, 2}, np.int64)\n",
        "a = (0,)\nx = [0]\nx[:] = {1, 2}\n",
        "def f(*a: set[int]) -> None:\n    for b in a:\n        list(b)\n",
        "def f(**a: set[int]) -> None:\n    list(a['b'])\n",
        "class S(set[int]): ...\nlist(S())\n",
        "class S(set): ...\ndef f(a: S) -> None:\n    for b in a: pass\n",
        "class S(frozenset[int]):\n    def f(self) -> None:\n        for b in self: pass\n",
        "def f(a: set[int]) -> None:\n    match a:\n        case b:\n            list(b)\n",
        "def f(a: object) -> None:\n    match a:\n        case set() as b:\n            list(b)\n",
        "def f(a: object) -> None:\n    match a:\n        case (int() | set()) as b: list(b)\n",
        "def f(a: object) -> None:\n    match a:\n        case set(b):\n            list(b)\n",
        SEEN + "def f(log: list[int]) -> None:\n    {log.append(x) for x in seen}\n",
        SEEN + "def f(log: list[int]) -> bool:\n    return any(log.append(x) for x in seen)\n",
        SEEN + "def f(log: list[int]) -> None:\n    set(x for x in seen if log.append(x))\n",
        SEEN + "x = any((y := x) for x in seen)\n",
        SEEN + "x = sum(([x] for x in seen), [])\n",
        "def f(a: set[int]) -> object:\n    return a\nx = list(f({1}))\n",
        "S = NewType('S', set[int])\ndef f(a: S) -> None:\n    list(a)\n",
        HEAD + "def f(a: np.ndarray) -> np.ndarray:\n    return np.append(a, {1, 2})\n",
        SEEN + "x = seen.__iter__()\n",
        "def f(a: set[int]) -> None:\n    (b, c), d = a, 1\n",
    ],
    "det-object-order": [
        "x = hash('a')\n",
        "x = sorted([object()], key=id)\n",
        "x = {id(a): a for a in 'ab'}\n",
        "x = 'a'.__hash__()\n",
        "x = object.__repr__(1)\n",
        "def f(a: list[object]) -> list[object]:\n    return sorted(a, key=repr)\n",
        "def f(a: list[object]) -> list[object]:\n    return sorted(a, key=str)\n",
        "def f(a: list[object]) -> None:\n    a.sort(key=lambda b: f'{b}')\n",
        "def f(a: list[object]) -> object:\n    return min(a, key=lambda b: (str(b), 1))\n",
        "def f(a: list[object]) -> list[str]:\n    return sorted(map(repr, a))\n",
    ],
    "det-unstable-sort": [
        HEAD + "def f(a: np.ndarray) -> np.ndarray:\n    return a.argsort()\n",
        HEAD + "def f(a: np.ndarray) -> np.ndarray:\n    return np.argsort(a, kind='quicksort')\n",
    ],
    "det-json-order": [
        "import json\nx = json.dumps({})\n",
        "import json\nx = json.JSONEncoder().encode({})\n",
        "import json as j\nx = j.JSONEncoder(indent=1).encode({})\n",
        "from json import dumps as d\nx = d({})\n",
        "import json\nx = list(map(json.dumps, [{}]))\n",
        "import json\nclass A(json.JSONEncoder): ...\n",
    ],
    "det-unicode": [
        "x = 'A'.lower()\n",
        "x = '1'.isdigit()\n",
        "def f(text: str) -> int:\n    return int(text)\n",
        "x = int('7f', 16)\n",
        "def f(a: bytes) -> int:\n    return int(a.decode())\n",
        "def f(a: str) -> list[int]:\n    return [int(b) for b in a.split(',')]\n",
        "class A:\n    n: str\n    def f(self) -> int:\n        return int(self.n[1:])\n",
        "x = ' a '.strip()\n",
        "x = 'a b'.split()\n",
        "x = 'a b'.split(maxsplit=1)\n",
        "x = 'a b'.rsplit(None, 1)\n",
        "x = list(map(str.strip, ['a']))\n",
        "def f(a: list[str]) -> list[int]:\n    return [int(b) for b in a]\n",
        "def f(a: list[str]) -> list[int]:\n    return list(map(int, a))\n",
        "def f(a: dict[int, str]) -> int:\n    return int(a[1])\n",
        "def f(a: str) -> object:\n    return a.casefold\n",
        "x = 'a b'.splitlines()\n",
    ],
    "det-machine-failure": [
        "try:\n    x = 1\nexcept Exception:\n    x = 2\n",
        "try:\n    x = 1\nexcept:\n    x = 2\n",
        "try:\n    x = 1\nexcept (ValueError, MemoryError):\n    x = 2\n",
    ],
    "det-hidden-state": [
        "n = 0\ndef f() -> None:\n    global n\n    n += 1\n",
        "from functools import lru_cache\n@lru_cache(8)\ndef f() -> int: ...\n",
        "async def f() -> None: ...\n",
        "class A:\n    def __del__(self) -> None: ...\n",
        "from functools import lru_cache\ndef f() -> int: ...\ng = lru_cache(maxsize=2)(f)\n",
        "from functools import cache as c\n@c\ndef f() -> int: ...\n",
        "a = {}\ndef f() -> None:\n    a[1] = 2\n",
        "a = []\ndef f() -> None:\n    a.append(1)\n",
        "a = set()\ndef f() -> None:\n    b = a\n    b.add(1)\n",
        "a = [[0]]\ndef f() -> None:\n    a[0].clear()\n",
        "from dexcore.b import SEEN\ndef f() -> None:\n    SEEN.add(1)\n",
        "import dexcore.b\ndef f() -> None:\n    dexcore.b.n = 1\n",
        "import dexcore.b as b\ndef f() -> None:\n    b.n += 1\n",
        "def f() -> None:\n    import dexcore.b\n    dexcore.b.n += 1\n",
        "a = [1]\ndef f() -> None:\n    del a[0]\n",
        "from heapq import heappush\na = list('a')\ndef f() -> None:\n    heappush(a, 'b')\n",
        "import itertools\na = itertools.count()\n",
        "from itertools import count as c\nclass A:\n    n = c(1)\n",
        "from itertools import count\na = count().__next__\n",
        "a = iter('abc')\n",
        "a = (b for b in 'abc')\n",
        "def g() -> object: ...\na = g()\ndef f() -> object:\n    return next(a)\n",
        "class A:\n    n = 0\n    def f(self) -> None:\n        A.n += 1\n",
        "class A:\n    n = 0\n    def f(self) -> None:\n        type(self).n += 1\n",
        "class A:\n    n = 0\n    def f(self) -> None:\n        self.__class__.n += 1\n",
        "class A:\n    n = 0\n    @classmethod\n    def f(cls) -> None:\n        cls.n += 1\n",
        "class A: ...\ndef f() -> None:\n    setattr(A, 'n', 1)\n",
        "class A:\n    a = []\n",
        "from collections import defaultdict\nclass A:\n    a = defaultdict(int)\n",
        "def f() -> None:\n    f.n = 1\n",
        "class A:\n    def f(self) -> None:\n        self.n = 1\na = A()\n",
        "def f(a=[]) -> None: ...\n",
        "a = {}\ndef f() -> None:\n    b = a\n    b |= {1: 2}\n",
        "def f(*, a=dict()) -> None: ...\n",
        "class A: ...\ndef f(a=A()) -> None: ...\n",
        "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    return g\n",
    ],
    "det-assert": ["assert 1\n", "if __debug__:\n    x = 1\n"],
    "det-exception": [
        "x = 1  # deterministic: det-float, it is a whole number\n",
        "x = 0.5  # deterministic: det-float\n",
        "x = 0.5  # deterministic: det-float, why\n",
    ],
}

# None of these is found.
SOUND = [
    SEEN + "for x in sorted(seen): pass\n",
    SEEN + "x = 1 in seen, len(seen), min(seen), max(seen), sum(seen), bool(seen)\n",
    SEEN + "x = sorted(a + 1 for a in seen)\n",
    SEEN + "x = {a + 1 for a in seen}\n",
    SEEN + "x = any(a > 1 for a in seen)\n",
    SEEN + "seen.add(1)\nseen.discard(1)\nseen.update({1})\nseen.clear()\n",
    SEEN + "x = seen == {*seen, 1}\n",
    "def f(a: dict[int, int]) -> None:\n    for x in a: pass\n    for x in a.keys(): pass\n",
    "def f(a: dict[int, int]) -> int:\n    return a.popitem()[0]\n",
    "def f(a: list[int]) -> int:\n    return a.pop()\n",
    "def f(a: list[int], b: int) -> int:\n    return a[0] - b | 3\n",
    "def g(a: set[int]) -> int: ...\ndef f(a: set[int]) -> int:\n    return g(a)\n",
    (
        "class A:\n    def g(self, a: set[int]) -> int: ...\n"
        "    def f(self, a: set[int]) -> int:\n        return self.g(a)\n"
    ),
    "def f(a: dict[int, set[int]]) -> None:\n    for b in a.values(): len(b)\n",
    "def f(a: dict[int, set[int]]) -> None:\n    a.setdefault(1, set()).add(2)\n",
    "x = 7 // 2 ** 3\n",
    "import math\nx = math.isqrt(9)\n",
    "import json\nx = json.dumps({}, sort_keys=True)\n",
    "import struct\nx = struct.Struct('<qI')\n",
    "x = 'a b'.partition(' ')\n",
    HEAD + "x = np.zeros(3, np.int64)\ny = x.argsort(kind='stable')\n",
    HEAD + "x = np.frombuffer(b'', '<i8').astype('<u8')\n",
    "try:\n    x = 1\nexcept (ValueError, OverflowError):\n    x = 2\n",
    "x = 0.5  # deterministic: det-float, a limit of a test that no state depends on\n",
    "def f(a: int) -> str:\n    return f'{a:>8d} {a:x} {a:,}' + '%08x %d%%' % (a, a)\n",
    "def f(a: int) -> str:\n    return format(a, 'd') + '{:x}'.format(a)\n",
    "def f(a: int) -> int:\n    return pow(a, -1, 7)\n",
    "def f(a: list[int], b: int) -> list[int]:\n    return sorted(a, key=lambda c: (c, -b))\n",
    "def f(a: int) -> int:\n    return int(a) + int(a == 1)\n",
    "x = 'a,b'.split(',')\ny = b' a '.strip()\n",
    "class S(set[int]): ...\ndef f(a: S) -> list[int]:\n    return sorted(a)\n",
    SEEN + "x = {len(str(a)) for a in seen}\ny = all(min(a, 3) for a in seen)\n",
    "a = {1: 2}\ndef f() -> int:\n    return a[1] + a.get(2, 0)\n",
    "a = []\ndef f() -> None:\n    a = []\n    a.append(1)\n",
    "def f(a: list[int]) -> None:\n    a.append(1)\n    a[0] = 2\n    next(iter(a))\n",
    "class A:\n    def f(self) -> None:\n        self.n += 1\n        self.a.append(1)\n",
    "@dataclass\nclass A:\n    a: list[int] = field(default_factory=list)\n",
    "from json import JSONEncoder\nx = JSONEncoder(sort_keys=True).encode({})\n",
    "import numpy as n\nx = n.array([], n.int64)\n",
    "from itertools import count\ndef f() -> None:\n    a = count()\n    next(a)\n",
]
PATH = "core/dexkline/a.py"


def findings(text: str, path: str = PATH) -> list[str]:
    return list(determinism.check({path: text}))


def test_the_pure_rooms_keep_the_contract() -> None:
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for room in (*determinism.ROOMS, determinism.RUNTIME)
        for path in (ROOT / room).rglob("*.py")
    }
    assert len(texts) > 20
    found = list(determinism.check(texts))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in BROKEN.items() for text in texts]
)
def test_what_breaks_the_contract_is_found(rule: str, text: str) -> None:
    assert {finding.partition(":")[0] for finding in findings(text)} == {rule}


@pytest.mark.parametrize("text", SOUND)
def test_what_keeps_the_contract_is_not_found(text: str) -> None:
    assert findings(text) == []


def test_every_rule_has_a_snippet_that_breaks_it_and_a_line_in_the_contract() -> None:
    assert set(BROKEN) == set(RULES)
    page = (ROOT / "docs/determinism.md").read_text()
    rows = re.findall(r"^\| `(det-[\w-]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(RULES)


def test_a_field_is_a_set_in_every_file_of_the_rooms() -> None:
    texts = {
        "core/dexcore/a.py": "def f(b: B) -> None:\n    for x in b.marked: pass\n",
        "core/dexcore/b.py": "class B:\n    marked: set[int]\n",
        "core/dexkline/c.py": "from dexcore.d import IDS\nx = list(IDS)\n",
        "core/dexcore/d.py": "IDS = frozenset({'a'})\n",
    }
    assert [finding.split(":")[1].strip() for finding in determinism.check(texts)] == [
        "core/dexcore/a.py",
        "core/dexkline/c.py",
    ]


def test_the_runtime_may_read_a_clock_and_may_not_iterate_a_set() -> None:
    assert findings("import time\nx = time.time_ns() / 1e9\n", "core/dexruntime/a.py") == []
    assert len(findings("x = list({1, 2})\n", "core/dexruntime/a.py")) == 1
    assert findings("x = list({1, 2})\n", "adapters/rpc/dexrpc/a.py") == []


def test_the_core_does_not_import_numpy() -> None:
    assert len(findings("import numpy\n", "core/dexcore/a.py")) == 1

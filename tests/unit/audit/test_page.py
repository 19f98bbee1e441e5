"""The example of docs/reference/audit.md is what the code makes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from dexcore import merkle
from dexcore.leaf import digests, encode_leaf
from dexruntime.journal import Record
from tests.unit.audit.trees import ListOfHashes, head_of

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "audit.md"
LOG = [Record(1, 1, b"\x01", b""), Record(2, 1, b"\x02", b"\xaa"), Record(3, 1, b"\x03", b"")]


def example() -> str:
    """The lines of the page."""
    rows = []
    hashes = []
    for index, record in enumerate(LOG):
        leaf = encode_leaf(
            record.sequence, record.time_ns, *digests(record.command, record.envelope)
        )
        hashes.append(sha256(b"\0" + leaf).digest())
        rows += [(f"leaf {index}", leaf), (f"leaf hash {index}", hashes[-1])]
    left = sha256(b"\1" + hashes[0] + hashes[1]).digest()
    root = sha256(b"\1" + left + hashes[2]).digest()
    assert merkle.root(ListOfHashes(hashes), 3) == root
    head = head_of(LOG)
    assert head.root_hash == root
    rows += [("left child", left), ("root", root)]
    rows += [("tree_head", head.signed.tree_head), ("public key", head.public_key)]
    rows += [("signature", head.signed.signature)]
    return "".join(f"    {name:12} {data.hex()}\n" for name, data in rows)


def test_the_example_is_what_the_code_makes() -> None:
    assert example() in PAGE.read_text()

"""The audit tree: a Merkle tree over the durable records of a journal, derived, on disk.

``TreeStore`` keeps it, ``TreeFollower`` brings it up to the journal. The bytes are in
docs/reference/audit.md, the reasons in docs/adr/0009-audit-tree.md.
"""

from __future__ import annotations

from dexruntime.audit.errors import AuditContradicted, AuditError, AuditFailed, AuditFull
from dexruntime.audit.follower import TreeFollower
from dexruntime.audit.store import TreeStore

__all__ = [
    "AuditContradicted",
    "AuditError",
    "AuditFailed",
    "AuditFull",
    "TreeFollower",
    "TreeStore",
]

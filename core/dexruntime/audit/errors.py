"""What can be wrong with the audit tree and its heads."""

from __future__ import annotations


class AuditError(Exception):
    """Base of all errors of the audit log."""


class AuditContradicted(AuditError):
    """A head the node has signed and its journal do not agree: one of the two was changed."""


class AuditFull(AuditError):
    """The disk has no room for the tree; nothing is lost, it goes on when there is."""


class AuditFailed(AuditError):
    """A sync of the tree or its heads has failed, or its bytes changed under the node."""

"""Recorded streams through the matching engine itself, as fast as it goes: ``dex backtest``.

Theory of operation: a source reads files of one format and makes of them what users would have
sent, in chunks; an engine carries a chunk out; a recorder keeps the sums and writes the rows. The
engine is `dexcore`'s, not a model of it: its matcher without a ledger for what comes from
elsewhere, the whole exchange for a journal of ours. docs/reference/backtest.md says what each
format means as commands.
"""

"""Sabotage: the code broken on purpose, to prove that a test notices (`make sabotage`)."""

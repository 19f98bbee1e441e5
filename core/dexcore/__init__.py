"""The exchange as a pure state machine.

Commands go in with their sequence and time, events come out; the same commands
give the same events and the same state on every machine. Nothing here reads a
clock, draws a random number, touches a file or uses a float: time, ids and
references are inputs. See ``docs/architecture.md``.
"""

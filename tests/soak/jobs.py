"""The jobs of the soak, with their full counts. docs/soak/README.md says what each one proves."""

from __future__ import annotations

from typing import Final

from tests.soak import (
    audit,
    bits,
    disks,
    endurance,
    fuzz,
    kills,
    market,
    overload,
    pools,
    retries,
    state,
    twin,
)
from tests.soak.job import Job

JOBS: Final = (
    Job(
        "endurance",
        "A node with subscribers at 70% of its knee, open loop, every order signed: each is "
        "answered, answers and trades agree, memory stays, and p99 no more than doubles while a "
        "snapshot is made.",
        "seconds",
        600,
        endurance.work,
        alone=True,
    ),
    Job(
        "overload",
        "A node on one core at three times its knee, with 200 calls in flight on one connection, "
        "under floods and with a stalled reader: all is answered or refused with RetryInfo, memory "
        "is bounded, floods are calmed, and the stalled reader is cut and loses nothing.",
        "nodes",
        2,
        overload.work,
        alone=True,
    ),
    Job(
        "twin",
        "Random commands of every type to the exchange and to its naive twin, on all cores: "
        "answers, trades, ends of orders and what self-trade prevention did are compared after "
        "each; balances, reservations, queues, what is parked, levels, auction prices, pools and "
        "quotes after every tenth; every order type, time, condition, phase and refusal is met.",
        "commands",
        10_000_000,
        twin.work,
    ),
    Job(
        "market",
        "The seeded market of a million commands through the whole exchange, interpreted and "
        "compiled: the hash over all events is the golden one, and what they say in plain events "
        "is what another implementation says.",
        "commands",
        market.COMMANDS,
        market.work,
    ),
    Job(
        "pools",
        "What `twin` does with a pool in every market and half of the commands about pools, with "
        "restarts from snapshots: the twin counts in exact fractions and routes lot by lot. "
        "Everything is compared after each command.",
        "commands",
        1_000_000,
        pools.work,
    ),
    Job(
        "state",
        "Runs of 200 steps that hypothesis chooses from every command, waits and restarts from "
        "snapshots: beside the twin, with the sums per asset, no debt and no crossed book after "
        "each step.",
        "runs",
        20_000,
        state.work,
    ),
    Job(
        "disks",
        "Deterministic simulation: the node, clients of the SDK, a bad network and a disk that "
        "loses, tears, reorders and fails, out of one seed each; and crashes of a journal alone.",
        "seeds",
        20_000,
        disks.work,
    ),
    Job(
        "retries",
        "The SDK in the simulation while a quarter of all messages are lost, cut off or doubled: "
        "each mutation counts once, each call ends by its deadline.",
        "calls",
        100_000,
        retries.work,
    ),
    Job(
        "kills",
        "kill -9 of a node under concurrent orders, cancels, batches and readers: at any moment, "
        "while it replays, while a snapshot is made, while it drains; every other node on a disk "
        "that forgets what was not synced. After each restart every answer is given again alike, "
        "trades, K-lines, books and balances are no older and no other than they were seen, and "
        "orders, fills, fees and balances are what all answers together come to, once.",
        "kills",
        2_000,
        kills.work,
    ),
    Job(
        "fuzz",
        "Requests, journal records, the wire, and sealed things, each a family with a process of "
        "its own: input is taken or refused with its own error, means the same in any pieces, and "
        "nothing is believed that was changed where a code seals it.",
        "executions",
        10_000_000,
        fuzz.work,
    ),
    Job(
        "audit",
        "Logs of a thousand records, each entry flipped, dropped, swapped, cut off, moved in time "
        "and rewritten, with everything an attacker can make again made again: the head of every "
        "size over the entry finds it.",
        "entries",
        1_000,
        audit.work,
    ),
    Job(
        "bits",
        "Each bit of a journal of 64 KiB with every type of command flipped: it is found where it "
        "is, and no record behind it is read.",
        "bits",
        bits.BITS,
        bits.work,
    ),
)

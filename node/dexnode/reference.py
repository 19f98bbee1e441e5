"""Writes the reference pages whose facts live in code.

Run `python -m dexnode.reference docs/reference`.

A test holds the committed pages to what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from dexnode.config_text import config_rows
from dexnode.errors import DOMAIN, RULES, reason_name
from dexnode.metrics import OTHER, SERIES_MAX
from dexnode.node_metrics import NodeMetrics
from dexnode.reference_limits import limits_page


def errors_page() -> str:
    """docs/reference/errors.md."""
    rows = [
        (
            str(reason),
            f"`{reason_name(reason)}`",
            f"`{rule.code.name}`",
            f"after {rule.retry_delay_ms} ms" if rule.retryable else "no",
            rule.sentence,
        )
        for reason, rule in sorted(RULES.items())
    ]
    return f"""# Errors

A refused call ends with a `google.rpc.Status` in the trailer `grpc-status-details-bin`. It holds
exactly one `google.rpc.ErrorInfo`: `reason` is a name of the table, `domain` is `{DOMAIN}`, and
`metadata["field"]` is the path of the offending field when one is at fault. A named field is also
given as a `google.rpc.BadRequest.FieldViolation`, and what may be sent again unchanged carries a
`google.rpc.RetryInfo`. A refused item of a batch or a stream carries a `dex.errors.v1.Rejection`
with the same reason. Programs read the reason; messages are for people and may change.

`RATE_LIMITED` names the budget in `metadata["budget"]`, `OVERLOADED` often the ceiling in
`metadata["ceiling"]` ([limits](../limits.md)); their RetryInfo says how long it will take, and the
delay below is what is asked when that is not known. `FIELD_INVALID` names the broken rule in
`metadata["rule"]`, e.g. `int64.gt`. `SLOW_CONSUMER` gives `metadata["last_sequence"]`, from which
to resume. `SEQUENCE_GONE` gives `metadata["oldest_sequence"]`, the first the feed still holds. A
mutation is safe to send again with the same signed envelope whatever the error was: it is answered
with its first result, even when its key was revoked or has expired since.

{_table(("Number", "Reason", "gRPC status", "Send again", "Meaning"), rows)}"""


def config_page() -> str:
    """docs/reference/config.md."""
    sections = "\n".join(
        f"## {heading}\n\n{_table(('Key', 'Type', 'Default', 'Meaning'), rows)}"
        for heading, rows in config_rows()
    )
    return f"""# Configuration

A node runs without any configuration. Values come from defaults, then a TOML file, then the
environment, then flags; a later source wins key by key. `dex node run --print-config` shows the
result with the source of every value; secrets are masked.

- File: sections and keys as below.
- Environment: `DEX_<SECTION>__<KEY>`, e.g. `DEX_GRPC__PORT=7500`, and `DEX_OPERATORS` with the
  whole list as a TOML value: `DEX_OPERATORS='[{{name = "desk", public_key = "..."}}]'`.

An unknown key or a bad value keeps the node from starting, and the message names the file or the
variable, the key and the reason. So does a listener beyond loopback without a `[tls]` certificate.
There are no default credentials: without `[[operators]]` nobody may call operator methods.

{sections}"""


def metrics_page() -> str:
    """docs/reference/metrics.md."""
    metrics = NodeMetrics().registry.all()
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in metrics
    ]
    originals = [
        (", ".join(f"`{name}`" for name in metric.original.split(", ")), f"`{metric.name}`")
        for metric in metrics
        if metric.original
    ]
    return f"""# Metrics

`http://127.0.0.1:7402/metrics` by default, in Prometheus's format, beside `/healthz` (the process
answers) and `/readyz` (it takes requests; 503 while it drains). With `telemetry.otlp_endpoint` the
same metrics are pushed over OTLP, and calls are traced. Counters end in `_total`, times are in
seconds. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`. A label takes at most
{SERIES_MAX:,} combinations; further ones are counted together as `{OTHER}`.

{_table(("Metric", "Kind", "Labels", "Meaning"), rows)}
Of the process itself: `process_resident_memory_bytes`, `process_cpu_seconds_total`,
`process_open_fds`, `process_start_time_seconds` and their like, as every Prometheus client has
them.

## Names of the first design

{_table(("There", "Here"), originals)}
`dex_trade_ingest_lag` said no unit; it is in seconds now. `dex_marketdata_pub_rate` was a rate,
which a scrape can miss: it is `rate(dex_marketdata_published_total[1m])`. Orders that were invalid,
stopped by risk or expired are one metric with the reason as its label, e.g.
`dex_order_refusals_total{{reason="INSUFFICIENT_FUNDS"}}`. `dex_kline_rebuild_total` has no
successor: K-lines are rebuilt by a start alone, which `dex_replayed_commands` shows.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "config.md": config_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "../limits.md": limits_page,
}


def main(folder: str) -> None:
    """Writes every page into `folder`."""
    for name, render in PAGES.items():
        Path(folder, name).write_text(render())


if __name__ == "__main__":
    main(sys.argv[1])

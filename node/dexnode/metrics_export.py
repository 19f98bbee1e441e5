"""Hands the node's metrics to OpenTelemetry, and through it to Prometheus and OTLP.

Counters and gauges are observable instruments, read at collection. OpenTelemetry has no observable
histogram, so the readers add ours to what they collect: `_receive_metrics` is the method the SDK
documents for overriding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry

from dexnode.metrics import SECOND, Counter, Family, Histogram, Reading, Registry

SCOPE: Final = "triodex"
# UCUM, which the Prometheus exporter turns back into the suffix that the names already have.
_UCUM: Final = {"": "", "seconds": "s", "bytes": "By"}


class _PrometheusReader(PrometheusMetricReader):
    def __init__(self, histograms: _Histograms, registry: CollectorRegistry) -> None:
        self._histograms = histograms
        super().__init__(scope_info_enabled=False, registry=registry)

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        super()._receive_metrics(self._histograms.added_to(metrics_data), timeout_millis, **kwargs)


class _PushReader(PeriodicExportingMetricReader):
    def __init__(
        self, histograms: _Histograms, exporter: MetricExporter, interval_seconds: int
    ) -> None:
        self._histograms = histograms
        super().__init__(exporter, export_interval_millis=interval_seconds * 1000)

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        super()._receive_metrics(self._histograms.added_to(metrics_data), timeout_millis, **kwargs)


class _Histograms:
    def __init__(self, families: list[Family[Histogram]]) -> None:
        self._families = families
        self._start_ns = time.time_ns()

    def added_to(self, data: MetricsData) -> MetricsData:
        """The data with ours in the scope the SDK has already made: the OTLP encoder keeps one of
        two resources or scopes that are equal."""
        now_ns = time.time_ns()
        ours = [self._metric(family, now_ns) for family in self._families]

        def added_to_scope(scope: ScopeMetrics) -> ScopeMetrics:
            if scope.scope.name != SCOPE:
                return scope
            return replace(scope, metrics=[*scope.metrics, *ours])

        return MetricsData(
            [
                replace(resource, scope_metrics=[added_to_scope(s) for s in resource.scope_metrics])
                for resource in data.resource_metrics
            ]
        )

    def _metric(self, family: Family[Histogram], now_ns: int) -> Metric:
        points = [
            self._point(family, values, histogram, now_ns) for values, histogram in family.items()
        ]
        return Metric(
            name=family.name,
            description=family.help,
            unit=_UCUM[family.unit],
            data=HistogramData(points, AggregationTemporality.CUMULATIVE),
        )

    def _point(
        self, family: Family[Histogram], values: tuple[str, ...], histogram: Histogram, now_ns: int
    ) -> HistogramDataPoint:
        scale = SECOND if family.unit == "seconds" else 1
        counts = list(histogram.counts)
        return HistogramDataPoint(
            attributes=dict(zip(family.labels, values, strict=True)),
            start_time_unix_nano=self._start_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=histogram.sum / scale,
            bucket_counts=counts,
            explicit_bounds=[bound / scale for bound in histogram.bounds],
            # Not kept: NaN is the data model's word for that.
            min=math.nan,
            max=math.nan,
        )


def export_metrics(
    registry: Registry,
    resource: Resource,
    prometheus: CollectorRegistry,
    push: tuple[MetricExporter, int] | None = None,
) -> MeterProvider:
    """Make the metrics readable through `prometheus`, and push them when `push` gives an exporter
    and its interval in seconds. Shut the provider down at the end: it pushes once more."""
    histograms = _Histograms(registry.histograms)
    readers: list[MetricReader] = [_PrometheusReader(histograms, prometheus)]
    if push is not None:
        readers.append(_PushReader(histograms, *push))
    # Its own handler of exit would outlive tests and a second node in the process.
    provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter(SCOPE)
    for family in registry.counters:
        meter.create_observable_counter(
            family.name, [_observe_counter(family)], _UCUM[family.unit], family.help
        )
    for reading in registry.readings:
        create: Callable[..., object] = meter.create_observable_gauge
        if reading.kind == "counter":
            create = meter.create_observable_counter
        create(reading.name, [_observe_reading(reading)], _UCUM[reading.unit], reading.help)
    return provider


Callback = Callable[[CallbackOptions], Iterable[Observation]]


def _observe_counter(family: Family[Counter]) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for values, counter in family.items():
            yield Observation(counter.value, dict(zip(family.labels, values, strict=True)))

    return observe


def _observe_reading(reading: Reading) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for sample in reading.read():
            labels = dict(zip(reading.labels, sample.labels, strict=True))
            yield Observation(sample.value, labels)

    return observe

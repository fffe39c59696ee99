"""What is measured, in Prometheus' format: builds as the table has them, deliveries as this process saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from mlflow_dbimage.service.build import STATUSES
from mlflow_dbimage.service.build_totals import BuildTotals, StatusTotals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Meters:
    """The registry of one application: nothing is shared with others of the same process.

    Args:
        totals: Asked anew for every scrape, so that builds of all workers are counted.
    """

    def __init__(self, totals: BuildTotals) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Builds(totals.read))
        self._deliveries = Counter(
            "dbimage_deliveries",
            "Deliveries of registries, by protocol and what came of them",
            ("source", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "dbimage_delivery_seconds",
            "Time to answer a delivery",
            ("source",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def delivered(self, source: str, outcome: str, seconds: float) -> None:
        """Count a delivery."""
        self._deliveries.labels(source, outcome).inc()
        self._seconds.labels(source).observe(seconds)

    def exposition(self) -> bytes:
        """Write all that is measured."""
        return generate_latest(self._registry)


class _Builds:
    """Reads the table at every scrape."""

    def __init__(self, read: Callable[[], dict[str, StatusTotals]]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Say nothing: a description would be made by reading the table when there may be none yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        totals = self._read()
        count = GaugeMetricFamily("dbimage_builds", "Builds, by status", labels=("status",))
        seconds = SummaryMetricFamily(
            "dbimage_build_seconds", "Duration of builds that ended, by status", labels=("status",)
        )
        pushed = CounterMetricFamily("dbimage_pushed_bytes", "Bytes that builds pushed to their destinations")
        for status in STATUSES:
            each = totals.get(status, StatusTotals())
            count.add_metric((status,), each.builds)
            if each.timed:
                seconds.add_metric((status,), each.timed, each.seconds)
        pushed.add_metric((), sum(each.sent_bytes for each in totals.values()))
        yield from (count, seconds, pushed)

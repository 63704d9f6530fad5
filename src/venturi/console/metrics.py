"""The Prometheus metrics, read from the ledger when they are asked for: no counter is lost in a restart."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from venturi.console.port import Glance
from venturi.dataset.syntaxes import lookup


class LedgerCollector(Collector):
    """Turns a ``Glance`` into metric families."""

    def __init__(self, glance: Callable[[], Glance]) -> None:
        self._glance = glance

    def collect(self) -> Iterator[Metric]:
        """The families, from one reading."""
        glance = self._glance()
        totals = glance.totals
        instances = GaugeMetricFamily("venturi_instances", "Instances by state", labels=["state"])
        for state, count in totals.instances.items():
            instances.add_metric([state], count)
        yield instances
        deliveries = GaugeMetricFamily(
            "venturi_deliveries", "Deliveries by destination and state", labels=["destination", "state"]
        )
        for (destination, state), count in totals.deliveries.items():
            deliveries.add_metric([destination, state], count)
        yield deliveries
        renditions = GaugeMetricFamily(
            "venturi_renditions",
            "Renditions by transfer syntax; reason says why as received, proof how it is known to be right",
            labels=["syntax", "reason", "proof"],
        )
        for (syntax, reason, proof), count in totals.renditions.items():
            renditions.add_metric([str(lookup(syntax)), reason, proof], count)
        yield renditions
        yield GaugeMetricFamily(
            "venturi_received_bytes", "Dataset bytes received", value=totals.bytes_received
        )
        yield GaugeMetricFamily(
            "venturi_pixel_bytes_before",
            "Pixel Data bytes as received, of what was transcoded",
            value=totals.bytes_before,
        )
        yield GaugeMetricFamily(
            "venturi_pixel_bytes_after", "Pixel bytes after transcoding", value=totals.bytes_after
        )
        yield GaugeMetricFamily(
            "venturi_spool_free_ratio", "Free space or inodes under the spool", value=glance.free_fraction
        )
        yield GaugeMetricFamily(
            "venturi_conflicting_instances",
            "Instances whose SOP Instance UID another one has with other bytes",
            value=totals.conflicts,
        )
        commitments = GaugeMetricFamily(
            "venturi_commitments",
            "Requests for storage commitment by the destination that was asked (none: peers asked us) and state",
            labels=["destination", "state"],
        )
        for (destination, state), count in totals.commitments.items():
            commitments.add_metric([destination, state], count)
        yield commitments
        if totals.oldest_pending_at is not None:
            yield GaugeMetricFamily(
                "venturi_oldest_pending_timestamp_seconds",
                "When the oldest pending delivery was received",
                value=totals.oldest_pending_at,
            )
        if totals.oldest_kept_at is not None:
            yield GaugeMetricFamily(
                "venturi_oldest_kept_timestamp_seconds",
                "When the oldest instance whose bytes are in the spool was decided upon",
                value=totals.oldest_kept_at,
            )

"""`GET /metrics`: what this process counted, and figures of the database (docs/metrics.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.db.engine import DatabaseUnavailable
from service.usecases.figures import Figures, count_figures
from service.web.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from service.db.engine import Database
    from service.wiring import Clock

_CALLBACKS: Final = "zego_retention_callbacks_total"
_CALLBACK_SECONDS: Final = "zego_retention_callback_duration_seconds"
_DATABASE_UP: Final = "zego_retention_database_up"
_ANSWERS: Final = ("stored", "refused", "unreadable", "too_large", "unavailable")
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_PROCESS_HELP: Final = {
    _CALLBACKS: "Requests to the callback URL since this process started, by answer.",
    _CALLBACK_SECONDS: "Seconds from a request to the callback URL until its answer.",
}
_DATABASE_HELP: Final = {
    _DATABASE_UP: "1 if the database could be asked; if it is 0, the figures that live there are left out.",
    "zego_retention_files": "Media files, by state.",
    "zego_retention_files_due": "Scheduled media files whose time has come, those that wait for a retry included.",
    "zego_retention_files_cooling": "Scheduled media files whose date has come, but that wait for a cooling-off.",
    "zego_retention_files_observed_due": "Media files that rules which only observe would have deleted.",
    "zego_retention_breaker_open": "1 while the breaker stops an app until somebody approves its plan.",
    "zego_retention_files_overdue_unconfirmed": "Unconfirmed media files whose time has come: confirm them.",
    "zego_retention_cache_purges_failed": "Deleted media files whose purge from Wangsu's cache failed.",
    "zego_retention_oldest_due_age_seconds": "How long the scheduled media file that is most overdue has been due.",
    "zego_retention_inbox_callbacks": "Stored callbacks, by verdict.",
    "zego_retention_inbox_unfinished": "Stored callbacks that are not understood yet.",
    "zego_retention_gate_blocked": "1 while nothing is deleted for this app and vendor until somebody acts.",
    "zego_retention_gate_paused": "1 while an app backs off.",
    "zego_retention_runs": "Passes of the sweep, by state.",
    "zego_retention_last_pass_finished_timestamp_seconds": "When the last sweep (retries aside) ended, in Unix time.",
    "zego_retention_lost_callbacks": "Media files that only a listing showed although their callback should have come.",
    "zego_retention_last_listing_finished_timestamp_seconds": "When the last complete listing ended, in Unix time.",
    "zego_retention_listing_incomplete": "1 while the newest listing of this app and vendor is not complete.",
    "zego_retention_rules_revision": "Number of the rule set in force; 0 while there is none.",
}

_FRESH_S: Final = 10.0
_FRESH_AFTER_FAILURE_S: Final = 1.0
_LARGEST_SHARE: Final = 0.05  # of the time that counting may take, however large the inventory is


def metric_names() -> dict[str, str]:
    """Every metric that this service exposes, with its help text."""
    return {**_PROCESS_HELP, **_DATABASE_HELP}


class Metrics:
    """The metrics of one web process, in a registry of their own."""

    def __init__(self, database: Database, now: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.callbacks = Counter(_CALLBACKS, _PROCESS_HELP[_CALLBACKS], ["answer"], registry=self.registry)
        for answer in _ANSWERS:
            self.callbacks.labels(answer=answer)
        self.callback_seconds = Histogram(
            _CALLBACK_SECONDS, _PROCESS_HELP[_CALLBACK_SECONDS], buckets=_BUCKETS, registry=self.registry
        )
        self.registry.register(_DatabaseCollector(database, now, monotonic))


def metrics_blueprint(metrics: Metrics) -> Blueprint:
    """The path for Prometheus."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def expose() -> Response:
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    return blueprint


class _DatabaseCollector(Collector):
    """Figures of the database, remembered for a while: scrapes cost it little however often and many they are."""

    def __init__(self, database: Database, now: Clock, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._now = now
        self._figures = Remembered(self._count, _freshness, monotonic)

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(name, help_text) for name, help_text in _DATABASE_HELP.items()]

    def collect(self) -> Iterator[Metric]:
        figures = self._figures.get()
        yield GaugeMetricFamily(_DATABASE_UP, _DATABASE_HELP[_DATABASE_UP], value=0 if figures is None else 1)
        if figures is not None:
            yield from _expose(figures)

    def _count(self) -> Figures | None:
        try:
            return count_figures(self._database, self._now())
        except DatabaseUnavailable:
            return None


def _freshness(figures: Figures | None, took_s: float) -> float:
    return _FRESH_AFTER_FAILURE_S if figures is None else max(_FRESH_S, took_s / _LARGEST_SHARE)


def _expose(figures: Figures) -> Iterator[Metric]:
    yield _by_label("zego_retention_files", "state", figures.files)
    yield _single("zego_retention_files_due", figures.due)
    yield _single("zego_retention_files_cooling", figures.cooling)
    yield _single("zego_retention_files_observed_due", figures.observed_due)
    yield _by_label("zego_retention_breaker_open", "app", dict.fromkeys(figures.stopped_apps, 1))
    yield _single("zego_retention_files_overdue_unconfirmed", figures.overdue_unconfirmed)
    yield _single("zego_retention_cache_purges_failed", figures.purges_failed)
    yield _single("zego_retention_oldest_due_age_seconds", figures.oldest_due_age.total_seconds())
    yield _by_label("zego_retention_inbox_callbacks", "verdict", figures.callbacks)
    yield _single("zego_retention_inbox_unfinished", figures.unfinished)
    yield _by_lane("zego_retention_gate_blocked", dict.fromkeys(figures.blocked, 1))
    yield _by_lane("zego_retention_gate_paused", dict.fromkeys(figures.paused, 1))
    yield _by_label("zego_retention_runs", "state", figures.runs)
    if figures.last_pass_at is not None:
        yield _single("zego_retention_last_pass_finished_timestamp_seconds", figures.last_pass_at.timestamp())
    yield _by_label("zego_retention_lost_callbacks", "app", figures.lost_callbacks)
    yield _by_lane(
        "zego_retention_last_listing_finished_timestamp_seconds",
        {(app_id, vendor): at.timestamp() for app_id, vendor, at in figures.listed_at},
    )
    yield _by_lane("zego_retention_listing_incomplete", dict.fromkeys(figures.incomplete_listings, 1))
    yield _single("zego_retention_rules_revision", figures.revision)


def _single(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, _DATABASE_HELP[name], value=value)


def _by_label(name: str, label: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, _DATABASE_HELP[name], labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _by_lane(name: str, values: Mapping[tuple[str, str], float]) -> Metric:
    family = GaugeMetricFamily(name, _DATABASE_HELP[name], labels=["app", "vendor"])
    for (app_id, vendor), value in values.items():
        family.add_metric([app_id, vendor], value)
    return family

"""Figures for Prometheus: requests, batches, cache, queue, jobs. No prompt, no address."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """The figures of one app; a registry of its own, so that several apps can live in one process."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        labels = ["route", "method", "status"]
        self.requests = Counter("weightzoo_requests", "Answers.", labels, registry=own)
        self.seconds = Histogram(
            "weightzoo_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=own
        )
        self.inside = Gauge("weightzoo_requests_inside", "Requests that compute or wait.", registry=own)
        self.batches = Histogram("weightzoo_batch_size", "Prompts in one batch.", buckets=SIZES, registry=own)
        self.cache = Counter("weightzoo_adapter_cache", "Requested adapters.", ["found"], registry=own)
        self.jobs = Gauge("weightzoo_jobs", "Fine-tuning jobs.", ["state"], registry=own)

    def text(self) -> bytes:
        return generate_latest(self.registry)

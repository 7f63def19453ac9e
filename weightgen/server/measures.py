"""What Prometheus reads at /metrics: requests, seconds, batches, cache, queue, jobs. No prompt, no address."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """The figures of one app; a registry of its own, so that several apps can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "weightzoo_requests", "Answers.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "weightzoo_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.inside = Gauge(
            "weightzoo_requests_inside", "Requests that compute or wait.", registry=self.registry
        )
        self.batches = Histogram(
            "weightzoo_batch_size", "Prompts in one batch.", buckets=SIZES, registry=self.registry
        )
        self.cache = Counter(
            "weightzoo_adapter_cache", "Adapters asked for.", ["found"], registry=self.registry
        )
        self.jobs = Gauge("weightzoo_jobs", "Fine-tuning jobs.", ["state"], registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)

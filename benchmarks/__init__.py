"""Measurements behind the figures in README and docs/LOG.md, each runnable as `python -m benchmarks.<name>`."""

"""Benchmarks of edited films."""

"""Measure the shipped models on held-out seeds: `python -m benchmarks.quality`."""

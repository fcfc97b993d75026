"""Benchmarks: what SharpV saves, and what it costs."""

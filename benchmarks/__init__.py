"""Benchmarks: each a module with a seed argument, run as `python -m benchmarks.NAME`, writing a JSON result."""

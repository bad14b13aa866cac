"""Benchmarks of accuracy: how good predictions and their confidence are, on real data."""

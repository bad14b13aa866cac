"""What multiseq costs, as ratios to what others cost and to what the machine can do: `python -m benchmarks`."""

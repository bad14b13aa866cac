"""What multiseq costs, as ratios to others and to what the machine can do: `python -m benchmarks`."""

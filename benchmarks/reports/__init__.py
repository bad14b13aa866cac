"""The tables and plots of a benchmark run."""

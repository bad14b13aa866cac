"""Internal modules of the graph adapters."""

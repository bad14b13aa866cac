"""What the adapter of graphs is made of."""

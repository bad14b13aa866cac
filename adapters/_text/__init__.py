"""What the adapter of text is made of."""

"""What the adapter of speech is made of."""

"""The network between adapters and heads: attention over packed sets, and the encoder built from it."""

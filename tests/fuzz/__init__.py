"""A fuzzer: small valid inputs are changed at random, and nothing but ours may come out."""

"""Heads predict a label per vector, a label per set, or a sequence. Targets define what a label is."""

"""What is read from encoded sets: a label per vector, a label per set, or a sequence; and what a label is."""

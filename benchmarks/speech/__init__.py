"""Figures of speech that a command of multiseq does not give."""

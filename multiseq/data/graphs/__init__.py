"""Readers of graphs: molecules, networks, and facts with texts."""

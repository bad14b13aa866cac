"""Runs: a recipe's data and model, trained into a folder, scored, and shown on the command line."""

"""Runs: read a recipe's data, build its model, train it into a folder, score it, and show the results."""

"""Training: batches, the step, Lightning's loop, what a stopped run goes on from, and metrics."""

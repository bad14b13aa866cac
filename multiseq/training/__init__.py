"""Training: batches, the training step, Lightning's loop, resume files, evaluation and metrics."""

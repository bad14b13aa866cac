"""Learn from data without labels, before the training."""

"""1. Documents to batches."""

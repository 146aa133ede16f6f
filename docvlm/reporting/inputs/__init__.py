"""What the report reads: runs, answers, measurements, published scores."""

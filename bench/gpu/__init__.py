"""What sharing pages, storing features and batched decoding buy on a GPU, at full size and in one call."""

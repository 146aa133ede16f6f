"""Examples to batches: the data module, mixtures, samplers, packing."""

"""Latency, memory, capacity and cost, measured and put beside accuracy."""

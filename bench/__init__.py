"""Benchmarks: docvlm against the trainers that peers offer, and against its own plain path, in one process.

    python -m bench                 the central cells, for a bare machine with two cores (`make bench`)
    python -m bench --full          every cell (`make bench-full`)
    python -m bench --write         also writes docs/results/benchmarks.json, its tables and its chart
    python -m bench.gpu             the published architectures on a CUDA device (`make bench-gpu`)
    python -m bench.full_size       the published architecture on this machine; apart, it needs gigabytes

Models are random and of middle size, with the cost shares of Qwen2-VL-2B and Florence-2-base (`models.py`); pages are
drawn, at the question densities of the real benchmarks (`pages.py`). What is compared takes turns, so that a machine
that slows down slows all down; beside each speed stands how far its numbers are from the plain path's.
"""

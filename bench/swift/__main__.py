"""`python -m bench.swift`: make the environment in which `python -m bench` runs ms-swift (6 GB in the user's cache)."""

from __future__ import annotations

import sys

from bench.swift.environment import CannotCompare, make

if __name__ == "__main__":
    try:
        print(f"ms-swift for the benchmark: {make()}")
    except CannotCompare as error:
        sys.exit(f"error: {error}")

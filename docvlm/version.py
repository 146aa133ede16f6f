"""The version of docvlm: the one place that says it, for the package's metadata and for what a run records."""

from __future__ import annotations

__version__ = "0.2.0"

"""What reads each format of an export."""

from __future__ import annotations

WHOLE = ("merged", "int8", "int4")
"""Formats that Transformers reads and that need no checkpoint beside them."""
OPENVINO = ("openvino", "openvino_int4")
"""Formats that OpenVINO reads."""
GGUF = ("gguf",)
"""Formats that llama.cpp reads."""
OUTSIDE = {**dict.fromkeys(OPENVINO, "OpenVINO"), **dict.fromkeys(GGUF, "llama.cpp")}
"""What reads the formats that Transformers does not."""
ALONE = (*WHOLE, *OUTSIDE)
"""Formats that need no checkpoint beside them."""

"""Whether an export is its run: what was measured against the tolerance that `conf/export.yaml` declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from docvlm.config import ToleranceConf
    from docvlm.exporting.canary import Comparison

_SLACK = 1e-9  # float error of a mean of scores


def declared(tolerances: Mapping[str, ToleranceConf], word: str, dtype: torch.dtype) -> ToleranceConf:
    """The tolerance of a format for a run in `dtype`: merged weights are rounded once more where it has 16 bits."""
    return tolerances["merged_16bit" if word == "merged" and dtype.itemsize == 2 else word]


def beyond(tolerance: ToleranceConf, seen: Comparison, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What lies beyond the tolerance, a clause each; empty for an export that is its run."""
    most = tolerance.logits
    reasons = []
    if seen.share < tolerance.texts:
        reasons.append(
            f"{seen.equal} of {seen.questions} canary answers are equal, {tolerance.texts:.0%} must be: {seen.example}"
        )
    if most is not None and seen.logits is not None and seen.logits > most:
        reasons.append(f"a logit moved by {seen.logits:.3g}, at most {most:g} is allowed")
    for score in scores:
        moved = score["difference"]["mean"]
        if abs(moved) > tolerance.score + _SLACK:
            reasons.append(
                f"{score['metric']} on {score['benchmark']} moved by {moved:+.3f}, at most {tolerance.score:g}"
            )
    return reasons

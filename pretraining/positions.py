"""Where a token stands, made large enough to be heard: a step in the middle of Florence-2's recipe.

Position embeddings are learned by AdamW and stay near the 0.02 they start from, while the tower's residual stream, with
matrices that Muon updates without decay, grows to a standard deviation of about a thousand. After the projector's
LayerNorm nothing is left of rows and columns: the model reads every line, but cannot say what stands beside a key.
Sinusoids (Vaswani et al. 2017, arXiv:1706.03762) in proportion to what they are added to put that right (docs/LOG.md
has the curves); from then on they are learned like any other weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TEXT = 0.35  # amplitude on text positions: about the norm of a token's embedding
IMAGE = 0.7  # amplitude on rows and columns, in standard deviations of the tower's output


def sinusoids(count: int, width: int, base: float = 100.0) -> Tensor:
    """Positions as sines and cosines of geometric wavelengths (count x width), between -1 and 1."""
    rates = base ** (-torch.arange(width // 2) / (width // 2))
    angles = torch.arange(count)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@torch.no_grad()
def show_positions(net: Any, pixel_values: Tensor) -> float:
    """Set Florence-2's image positions and add to its text positions; returns the tower's standard deviation."""
    tower = net.model.vision_tower(pixel_values).last_hidden_state
    spread = float(tower.std())
    image = net.model.multi_modal_projector.image_position_embed
    for table in (image.row_embeddings, image.column_embeddings):
        table.weight.copy_(IMAGE * spread * sinusoids(*table.weight.shape))
    text = net.model.language_model
    for table in (text.encoder.embed_positions, text.decoder.embed_positions):
        table.weight.add_(TEXT * sinusoids(*table.weight.shape))
    return spread

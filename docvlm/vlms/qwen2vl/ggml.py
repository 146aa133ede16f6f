"""Qwen2-VL as llama.cpp has it (`src/models/qwen2vl.cpp` and `tools/mtmd/models/qwen2vl.cpp` of ggml-org/llama.cpp).

It is written for the published checkpoints. What it has a constant for is checked here, as far as their `config.json`
has a field of it; the other fields are listed by `docvlm.exporting.readers`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from docvlm.vlms.ggml import Halves, Renamed

_MERGE, _FRAMES, _LAYER_NORM = 2, 2, 1e-6
"""Patches a side that become one token, frames that become one patch, epsilon of the tower's norms: all constants."""
_UNUSED_SIZE = 560  # `clip.vision.image_size` must be there, and pages keep their own


def _unable(config: Any) -> str | None:
    text, vision = config.text_config, config.vision_config
    if text.use_sliding_window:
        return "text_config.use_sliding_window=true: llama.cpp attends to all positions"
    if (vision.spatial_merge_size, vision.temporal_patch_size) != (_MERGE, _FRAMES):
        return (
            f"vision_config.spatial_merge_size={vision.spatial_merge_size} and"
            f" temporal_patch_size={vision.temporal_patch_size}: llama.cpp knows {_MERGE} and {_FRAMES}"
        )
    return None


def _text(writer: Any, config: Any) -> None:
    text = config.text_config
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    writer.add_rope_dimension_sections([*text.rope_parameters["mrope_section"], 0])


def _vision(writer: Any, config: Any) -> None:
    vision = config.vision_config
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen2vl_merger")
    writer.add_vision_projection_dim(vision.hidden_size)
    writer.add_vision_image_size(_UNUSED_SIZE)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.embed_dim)
    writer.add_vision_feed_forward_length(int(vision.embed_dim * vision.mlp_ratio))
    writer.add_vision_block_count(vision.depth)
    writer.add_vision_head_count(vision.num_heads)
    writer.add_vision_attention_layernorm_eps(_LAYER_NORM)
    writer.add_vision_spatial_merge_size(_MERGE)


def _tensors(name: str, tensor: Tensor) -> Renamed:
    """Queries, keys and values apart, and the patches' kernel a frame at a time."""
    if name == "visual.patch_embed.proj.weight":  # (D x 3 x frames x patch x patch)
        yield "v.patch_embd.weight", tensor[:, :, 0]
        yield "v.patch_embd.weight.1", tensor[:, :, 1]
    elif ".attn.qkv." in name:
        for part, which in zip(tensor.chunk(3), "qkv", strict=True):
            yield name.replace("qkv", which), part
    else:
        yield name, tensor


HALVES = Halves("qwen2vl", _text, _vision, _tensors, _unable, tower="visual.")

"""What other readers of a checkpoint do not take from its `config.json`: found, named, and refused for `merged`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import Qwen2VLConfig

from docvlm.errors import DocvlmError
from docvlm.exporting import formats, readers
from docvlm.exporting.source import Source
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.vlms import embedded
from docvlm.vlms.checkpoint import load_config
from docvlm.vlms.families import FAMILIES

KNOWN = FAMILIES["qwen2vl"].published["qwen2_vl"]
THETA = "vision_config.rope_parameters.rope_theta"
FLAT = {
    "architectures": ["Qwen2VLForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
    "vision_token_id": 151654, "image_token_id": 151655, "video_token_id": 151656, "hidden_act": "silu",
    "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960, "max_position_embeddings": 32768,
    "max_window_layers": 28, "model_type": "qwen2_vl", "num_attention_heads": 12, "num_hidden_layers": 28,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.41.2", "use_cache": True,
    "use_sliding_window": False, "vision_config": {
        "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 1536,
        "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2,
    }, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936,
}  # fmt: skip
"""`config.json` of Qwen/Qwen2-VL-2B-Instruct."""


def run_of(folder: Path, **vision: object) -> Source:
    """An export of a run whose checkpoint is the embedded one with other values in its vision config."""
    shutil.copytree(embedded.checkpoint("qwen2vl"), folder / "base")
    config = json.loads((folder / "base" / "config.json").read_text())
    config["vision_config"] |= vision
    (folder / "base" / "config.json").write_text(json.dumps(config))
    best = folder / "run" / "checkpoints" / "best"
    best.mkdir(parents=True)
    record = {
        "family": "qwen2vl", "checkpoint": str(folder / "base"), "base_fingerprint": "", "budget": {},
        "freeze": 100, "lora": {"r": 4}, "dtype": "float32",
    }  # fmt: skip
    (best / "docvlm.json").write_text(json.dumps(record))
    shutil.copy(embedded.checkpoint("qwen2vl") / "tokenizer.json", best)
    return Source(Run(RunFolder(folder / "run"), {}, {}), "docvqa", True)


def test_the_checkpoints_that_docvlm_names_hold_nothing_unknown() -> None:
    assert readers.unknown(Qwen2VLConfig.from_dict(FLAT), KNOWN) == {}
    assert readers.unknown(load_config(embedded.checkpoint("qwen2vl"), offline=True), KNOWN) == {}


def test_a_field_that_the_published_checkpoints_have_not_is_named_with_what_others_take() -> None:
    config = Qwen2VLConfig.from_dict(FLAT)
    config.vision_config.rope_parameters["rope_theta"] = 100.0
    config.vision_config.hidden_act = "gelu"
    config.text_config.rope_parameters["rope_theta"] = 1000.0  # every reader takes it from there
    config.vision_config.initializer_range = 0.5  # moves nothing
    assert readers.unknown(config, KNOWN) == {
        THETA: (100.0, 10000.0), "vision_config.hidden_act": ("gelu", "quick_gelu")
    }  # fmt: skip


def test_merged_is_refused_unless_the_field_is_allowed(tmp_path: Path) -> None:
    run = run_of(tmp_path, rope_parameters={"rope_theta": 100.0, "rope_type": "axial"})
    with pytest.raises(DocvlmError, match=rf"formats=merged: .*{THETA}=100\.0 \(elsewhere 10000\.0\).*allow_fields="):
        formats.chosen(["merged"], run)
    words, left_out = formats.chosen(None, run)
    assert "merged" not in words and "adapter" in words and THETA in left_out["merged"]
    assert "merged" in formats.chosen(["merged"], replace(run, allowed=(THETA,)))[0]
    assert formats.chosen(["merged"], replace(run_of(tmp_path / "two"), allowed=()))[0] == ["merged"]


def test_families_without_a_list_are_not_judged(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    record = run.record | {"family": "florence2", "checkpoint": "embedded"}
    (run.best / "docvlm.json").write_text(json.dumps(record))
    assert readers.refused(run) is None

"""On a GPU all tensors of a loss and of answers are on it: shown without one (`tests.pretend_gpu`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from docvlm.data.generated import documents
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support.pretend_gpu import OnGpu, gpu, place
from tests.support.tiny import load

ASKED = [example for document in documents("docvqa", "test", 2, "tiny", 0) for example in document]
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tests marked gpu run on the real one")


def moved(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: OnGpu(tensor) for name, tensor in batch.items()}


@pytest.mark.parametrize("freeze", [33, 100])
@pytest.mark.parametrize("family", ["qwen2vl", "florence2"])
@pytest.mark.parametrize("way", ["plain", "packed", "stored"])
def test_nothing_is_left_on_the_processor(family: str, freeze: float, way: str, tmp_path: Path) -> None:
    vlm = load(family, attn="eager")  # CUDA's fused kernels ask the driver
    apply(vlm, freeze, Lora(4))
    codec, packed = vlm.codec, way != "plain"
    encode = codec.packed_batch if packed else codec.train_batch
    loss, tokens = vlm.loss(encode(ASKED))
    answers = vlm.generate(codec.eval_batch(ASKED, packed=packed).prompts, 3)
    if way == "stored":
        codec.stored = Stored(FeatureStore(tmp_path, 2**28), torch.float32, torch.float32, whole=freeze == 100)
    place(vlm)
    with gpu():
        for again in range(2 if way == "stored" else 1):
            batch = encode(ASKED)
            assert ("features" in batch or "prefix" in batch) is bool(again)
            there, counted = vlm.loss(moved(batch))
            assert isinstance(there, OnGpu) and counted == tokens
            assert there.item() == pytest.approx(loss.item(), rel=1e-5)
            with torch.no_grad():
                said = vlm.generate(moved(codec.eval_batch(ASKED, packed=packed).prompts), 3)
            assert [answer.text for answer in said] == [answer.text for answer in answers]
        with pytest.raises(RuntimeError, match="tensors on the GPU and, of "):
            vlm.loss(encode(ASKED))

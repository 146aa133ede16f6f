"""A run may lie in a folder of any name: what ends a training is not the place of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from docvlm.train import main

SMALL = ["scale=tiny", "trainer.max_epochs=1", "data.limit_train=8", "data.limit_val=4", "data.limit_test=4"]


def test_a_run_in_a_folder_whose_name_is_a_chain_to_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "zip::run [2]* $HOME %20"
    here.mkdir()
    monkeypatch.chdir(here)
    main(SMALL)
    (folder,) = (here / "outputs").iterdir()
    found = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    assert found["docvlm"]["done"] and (folder / "result.json").is_file()
    assert list(tmp_path.iterdir()) == [here]

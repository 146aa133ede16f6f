"""`trainer=fsdp`: Lightning's `ModelParallelStrategy` around a model that is sharded by FSDP2 (`docvlm.vlms.sharded`).

The numbers are those of one device at the same global batch: gradients are reduced and weights held in float32, as
everywhere here, and computed in what `trainer.precision` says.

A checkpoint is a folder: every device writes its part of the tensors (`torch.distributed.checkpoint`), one of them
`state.pt` with all that is no tensor of a weight or of the optimizer. It is read by any number of devices.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from docvlm.config.train import EVALUATIONS
from docvlm.runs.folder import STATE
from docvlm.training import shards_on_disk
from docvlm.vlms import sharded
from docvlm.vlms.base import VLM

GATHERED, SHARDED = EVALUATIONS


class Sharded(ModelParallelStrategy):
    """All devices share the weights of a model, the gradients of what learns and its optimizer state.

    `evaluation`: "gathered" makes the model whole on every device while it answers, so that devices do not wait for
    each other: each needs room for all weights in `model.dtype`. "sharded" gathers layer by layer for every token, and
    devices answer in step.
    """

    def __init__(self, evaluation: str = GATHERED, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, **options)
        self.evaluation = evaluation
        self._resumed: Path | None = None

    def setup_environment(self) -> None:
        """One mesh of all devices; Lightning's own default would be to split every layer within a machine."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    def shard(self, vlm: VLM) -> None:
        """Spread a model over the devices; one that is stays as it is."""
        if not sharded.is_sharded(vlm):
            sharded.shard(vlm, self.device_mesh["data_parallel"])
            vlm.in_step = self.evaluation == SHARDED and self.world_size > 1

    # Checkpoints. Lightning's own would hold the frozen weights too, and pickle what is read back.

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Optimizers are restored as those of one device are."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Tensor]:
        """Every device's part of what learns."""
        return {name: parameter.detach() for name, parameter in self._learning().items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Every device's part, in dicts that may be changed."""
        state: dict[str, Any] = optimizer.state_dict()
        return state | {"state": {index: dict(states) for index, states in state["state"].items()}}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write the folder `filepath`, in which nothing stays of what was there."""
        folder = Path(filepath)
        if self.is_global_zero:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.barrier("folder of a checkpoint")
        tensors = {_weight(name): tensor for name, tensor in checkpoint.pop("state_dict").items()}
        for place, states in _states(checkpoint["optimizer_states"]):
            tensors |= {place + key: states.pop(key) for key in list(states) if isinstance(states[key], Tensor)}
        dcp.save(tensors, checkpoint_id=folder)
        if self.is_global_zero:
            torch.save(checkpoint, folder / STATE)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """What is no tensor, and under `state_dict` the names of the weights; these are read when their names match."""
        self._resumed = Path(checkpoint_path)
        found: dict[str, Any] = torch.load(self._resumed / STATE, map_location="cpu", weights_only=True)
        names = shards_on_disk.shapes(self._resumed)
        weights = {name.removeprefix(_weight("")) for name in names if name.startswith(_weight(""))}
        return found | {"state_dict": dict.fromkeys(sorted(weights))}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Read the weights into the model."""
        assert self._resumed is not None
        dcp.load({_weight(name): p.detach() for name, p in self._learning().items()}, checkpoint_id=self._resumed)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Read the optimizers' tensors, each sharded like its parameter where it is of the same shape."""
        assert self._resumed is not None
        on_disk, wanted = shards_on_disk.shapes(self._resumed), {}
        for place, states in _states(checkpoint["optimizer_states"]):
            number, index = map(int, place.split(".")[1:3])
            parameter = [p for group in self.optimizers[number].param_groups for p in group["params"]][index]
            for name in (name for name in on_disk if name.startswith(place)):
                shape, dtype = on_disk[name]
                like = parameter.detach() if shape == parameter.shape else torch.empty(shape)
                states[name.removeprefix(place)] = wanted[name] = torch.zeros_like(like, dtype=dtype)
        dcp.load(wanted, checkpoint_id=self._resumed)
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)

    def _learning(self) -> dict[str, Tensor]:
        module = self.lightning_module
        assert module is not None
        parts = module.state_dict(keep_vars=True)  # which lets go of what an evaluation had gathered
        return {name: parts[name] for name, parameter in module.named_parameters() if parameter.requires_grad}


def _weight(name: str) -> str:
    return f"weight.{name}"


def _states(optimizers: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The state of every parameter of the optimizers, and what the names of its tensors begin with on disk."""
    for number, optimizer in enumerate(optimizers):
        for index, states in optimizer["state"].items():
            yield f"optimizer.{number}.{index}.", states

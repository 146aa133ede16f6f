"""What lies in a folder that `torch.distributed.checkpoint` wrote, found out without executing anything of it.

Its index (`.metadata`) is a pickle, which torch reads with all that pickles can do, and so it does what is no tensor.
Here an index is read that names classes of the index and nothing else, and of tensors alone: `dcp.load` may read such a
folder then.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

INDEX = ".metadata"
_METADATA = "torch.distributed.checkpoint.metadata"
_KNOWN = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "TensorStorageMetadata", "TensorProperties")),
    *((_METADATA, name) for name in ("ChunkStorageMetadata", "StorageMeta", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    *((module, f"{kind}Path") for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
}


def shapes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and dtype of every tensor in `folder`, by its name. Raises `pickle.UnpicklingError` for anything else."""
    with (folder / INDEX).open("rb") as file:
        index = _Index(file).load()
    if not isinstance(index, Metadata):
        raise pickle.UnpicklingError(f"{folder / INDEX}: holds {type(index).__name__}")
    found = {}
    for name, tensor in index.state_dict_metadata.items():
        if not isinstance(tensor, TensorStorageMetadata):
            raise pickle.UnpicklingError(f"{folder / INDEX}: {name} is no tensor")
        found[name] = (tensor.size, tensor.properties.dtype)
    return found


class _Index(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        named = getattr(torch, name, None) if module == "torch" else None
        if (module, name) in _KNOWN or isinstance(named, (torch.dtype, torch.layout)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{INDEX}: names {module}.{name}, which no index of a checkpoint needs")

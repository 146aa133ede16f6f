"""What a frozen tower makes of a page, kept on disk: encoded once for all epochs, runs of a sweep and processes.

A feature is found by its page's pixels and belongs to one tower, budget and dtype (`folder` is named after them).
What is written is gathered until a shard is worth its file (`flush` ends that). Shards are safetensors files, written
beside their place and moved there, so a reader sees a whole shard or none; every tensor carries a checksum that is
compared when it is first read. Two processes may write the same page: both shards are valid, one is used. Over `limit`
bytes the shards that were not used for longest go. Cost: reading is a memory map and a copy; whether that beats
encoding is measured (`docvlm.training.feature_choice`), not assumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from docvlm.errors import DocvlmError

DIGEST = 16  # bytes of a page's digest
SHARD = 256 * 2**20  # bytes gathered before they are written: every shard is an open file in every process


def digest(image: Image) -> str:
    """Content address of a page: its pixels and size."""
    content = hashlib.blake2b(f"{image.mode}{image.size}".encode(), digest_size=DIGEST)
    content.update(image.tobytes())
    return content.hexdigest()


class FeatureStore:
    """Tensors by digest in `folder`, at most `limit` bytes of them. Picklable; every process opens its own files."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        self._shards: dict[str, Any] = {}  # name → open file
        self._where: dict[str, str] = {}  # digest → name of its shard
        self._checked: set[str] = set()
        self._gathered: dict[str, Tensor] = {}
        self._seen: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __contains__(self, name: str) -> bool:
        if name not in self._gathered and name not in self._where:
            self._refresh()
        return name in self._gathered or name in self._where

    def read(self, name: str) -> Tensor | None:
        """The tensor of a name, or None where there is none (any more). A damaged shard is removed, with a warning."""
        if name not in self:
            return None
        if name in self._gathered:
            return self._gathered[name]
        shard = self._where[name]
        tensor: Tensor = self._shards[shard].get_tensor(name)
        if name not in self._checked:
            expected = json.loads(self._shards[shard].metadata()["checksums"])[name]
            if _checksum(tensor) != expected:
                warnings.warn(
                    f"{self.folder / shard}: checksum does not match; removed, its pages are encoded anew", stacklevel=2
                )
                self._forget(shard)
                (self.folder / shard).unlink(missing_ok=True)
                return None
            self._checked.add(name)
        return tensor

    def write(self, features: Mapping[str, Tensor]) -> None:
        """Add tensors; what is stored already is left out."""
        self._gathered |= {name: t.detach().cpu().contiguous() for name, t in features.items() if name not in self}
        if sum(tensor.nbytes for tensor in self._gathered.values()) >= SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as one shard, then drop old shards over the limit."""
        if not self._gathered:
            return
        sums = json.dumps({name: _checksum(tensor) for name, tensor in self._gathered.items()})
        whole = self.folder / f"{uuid.uuid4().hex}.safetensors"
        part = whole.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # someone may have deleted it
            save_file(self._gathered, part, {"checksums": sums})
            part.replace(whole)
        except (OSError, SafetensorError) as error:
            raise DocvlmError(
                f"features_folder: {self.folder} cannot be written ({error}); free space, name another folder, or take"
                " features=off. The same command continues the run"
            ) from error
        finally:
            if part.exists():
                part.unlink()
        self._gathered = {}
        self._evict()

    def _refresh(self) -> None:
        """Open the shards that have come since, in this process or another; forget those that have gone."""
        changed = self.folder.stat().st_mtime_ns if self.folder.exists() else None
        if changed is not None and changed == self._seen:
            return
        self._seen = changed
        present = {path.name: path for path in self.folder.glob("*.safetensors")}
        for gone in self._shards.keys() - present.keys():
            self._forget(gone)
        for name in present.keys() - self._shards.keys():
            try:
                shard = safe_open(present[name], "pt")
                os.utime(present[name])  # used: the last to be dropped
            except FileNotFoundError:
                continue  # another process dropped it in between
            except SafetensorError as error:
                warnings.warn(f"{present[name]}: {error}; removed, its pages are encoded anew", stacklevel=3)
                present[name].unlink(missing_ok=True)
                continue
            self._shards[name] = shard
            self._where.update(dict.fromkeys(shard.keys(), name))

    def _forget(self, shard: str) -> None:
        del self._shards[shard]
        lost = [name for name, where in self._where.items() if where == shard]
        for name in lost:
            del self._where[name]
        self._checked.difference_update(lost)

    def _evict(self) -> None:
        sizes = []
        for path in self.folder.glob("*.safetensors"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            sizes.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in sizes)
        for _, size, path in sorted(sizes)[:-1]:  # never the newest
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().tobytes())

"""An export on the Hugging Face hub: what would be sent, and the sending.

One commit holds all files, so that whoever downloads meanwhile gets the export before it or this one, never half of
each; `upload_folder` would make several where hf_xet is installed. A new repository is private unless the command says
otherwise, and one that is public already is not written to by accident. The token is the one huggingface_hub finds
(`hf auth login`, `HF_TOKEN`); it is neither shown nor kept. `export.json`, which names folders of this machine, stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.answering.llamacpp import TEXT, VISION
from docvlm.errors import DocvlmError
from docvlm.exporting.records import FILE
from docvlm.version import __version__
from docvlm.vlms import forms, loading, saved
from docvlm.vlms.checkpoint import HTTP_ERROR

if TYPE_CHECKING:
    from docvlm.config import ExportConfig
    from docvlm.exporting.source import Source

CARD = "README.md"
TIMEOUT_S = 120.0  # without a byte to or from the hub; huggingface_hub itself would wait for ever
_MB = 1e6
_ADVICE = {
    401: "the token is not valid; log in again with hf auth login, or set HF_TOKEN",
    403: "the token may not write there; it needs write permission for {owner}",
    404: "there is no such user or organisation, or the token does not see it; check the spelling of {owner}",
    409: "somebody else changed the repository meanwhile; the same command again sends it",
    429: "too many requests; wait a while, and the same command again sends it",
}


@dataclass(frozen=True)
class Parcel:
    """The files of one export that are sent, by their path in the repository, smallest path first."""

    folder: Path
    form: str
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    def __str__(self) -> str:
        rows = [f"  {size / _MB:12.3f} MB  {path}" for path, size in self.files.items()]
        return "\n".join([*rows, f"  {self.size / _MB:12.3f} MB  in {len(self.files)} files from {self.folder}"])


def ready(cfg: ExportConfig) -> None:
    """Raise `DocvlmError` for what would stop a push in the end, before hours of work. Reaches no network."""
    repo = cfg.push_to
    if repo is None or cfg.dry_run:
        return
    from huggingface_hub import get_token, is_offline_mode

    if cfg.offline or is_offline_mode():
        switch = "offline=true" if cfg.offline else "HF_HUB_OFFLINE"
        raise DocvlmError(f"push_to={repo}: {switch} keeps everything off the network; drop it, or give dry_run=true")
    if get_token() is None:
        raise DocvlmError(
            f"push_to={repo}: no token of the hub is here; hf auth login, or set HF_TOKEN to one that may write"
        )


def one_format(cfg: ExportConfig, source: Source) -> ExportConfig:
    """The config with the format that is pushed where none was named: the adapter, or the whole model without one."""
    if cfg.push_to is None or cfg.formats is not None:
        return cfg
    return replace(cfg, formats=["adapter" if source.record["lora"]["r"] else "merged"])


def publish(cfg: ExportConfig, output: Path) -> str | None:
    """Send the format in `output`, or say what would be sent, in a line or several. None where nobody asked for it."""
    if cfg.push_to is None or cfg.formats is None:
        return None
    sent = parcel(output / cfg.formats[0])
    act = rehearsed if cfg.dry_run else push
    return act(sent, cfg.push_to, private=cfg.private)


def parcel(folder: Path) -> Parcel:
    """What of an exported folder is sent. Raises `DocvlmError` where it is incomplete, or of use to nobody else."""
    record = saved.read(folder)
    _require_weights(folder)
    _require_card(folder)
    form = loading.form(record)
    base = Path(record["checkpoint"])
    if form not in forms.ALONE and (base.is_absolute() or base.exists()):
        raise DocvlmError(
            f"{folder}: an adapter for {base}, a folder that nobody else has; push the whole model: formats=[merged]"
        )
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILE)
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    return Parcel(folder, form, {name: size for name, size in files.items() if not _hidden(name)})


def rehearsed(sent: Parcel, repo: str, *, private: bool) -> str:
    """What a push would do, for people. Reaches no network."""
    return (
        f"dry run: nothing is sent. It would create the {_word(private)} model repository {repo} where there is none,"
        f" and put into it, in one commit:\n{sent}"
    )


def push(sent: Parcel, repo: str, *, private: bool) -> str:
    """Create the repository where there is none, and send all files in one commit. Returns a line that says where.

    Raises `DocvlmError` where the hub refuses or does not answer, or a repository is public and `private` was asked.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import get_session

    api, folder = HfApi(library_name="docvlm", library_version=__version__), sent.folder
    get_session().timeout = TIMEOUT_S
    with _explained(repo):
        api.create_repo(repo, private=private, exist_ok=True)
        found = api.model_info(repo)
        if private and not found.private:
            raise DocvlmError(
                f"push_to={repo}: the repository is there already and public; give private=false, or another name"
            )
        made = api.create_commit(
            repo,
            [CommitOperationAdd(name, folder / name) for name in sent.files],
            commit_message=f"{sent.form}, exported by docvlm {__version__}",
        )
    count = f"{len(sent.files)} files, {sent.size / _MB:.1f} MB"
    return f"published: {found.id} ({_word(bool(found.private))}), {count}, commit {made.oid}: {made.commit_url}"


def _word(private: bool) -> str:
    return "private" if private else "public"


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _require_weights(folder: Path) -> None:
    """Every file of weights is there and whole, as its own header tells; of graphs, each with its weights."""
    from safetensors import SafetensorError, safe_open

    form = loading.form(saved.read(folder))
    if form in forms.OPENVINO:
        _require_graphs(folder)
        return
    if form in forms.GGUF:
        _require_gguf(folder)
        return
    indices = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.safetensors.index.json")]
    named = {name for index in indices for name in index["weight_map"].values()}
    files = {file.name for file in folder.glob("*.safetensors")}
    for name in sorted(named | files) or [saved.WEIGHTS]:
        try:
            with safe_open(folder / name, "pt") as weights:
                weights.keys()
        except (OSError, SafetensorError) as error:
            raise DocvlmError(f"{folder / name}: not readable ({error}); rerun=true exports it again") from error


def _require_graphs(folder: Path) -> None:
    graphs = sorted(folder.glob("openvino_*.xml"))
    empty = [file for graph in graphs if not (file := graph.with_suffix(".bin")).is_file() or not file.stat().st_size]
    if not graphs or empty:
        raise DocvlmError(f"{empty[0] if empty else folder}: no weights of a graph; rerun=true exports it again")


def _require_gguf(folder: Path) -> None:
    """Both files are there and begin as such; that they are whole, their runtime tells who loads them."""
    for file in (folder / TEXT, folder / VISION):
        if not file.is_file() or file.open("rb").read(4) != b"GGUF":
            raise DocvlmError(f"{file}: no GGUF file; rerun=true exports it again")


def _require_card(folder: Path) -> None:
    """The card is there, and huggingface_hub reads its metadata, scores among them."""
    from huggingface_hub import ModelCard

    file = folder / CARD
    try:
        card = ModelCard(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise DocvlmError(f"{file}: no model card ({reason}); rerun=true exports it again") from error
    if "license" not in card.data.to_dict():
        raise DocvlmError(f"{file}: its metadata names no licence; rerun=true exports it again")


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What the hub or the network say against it, in one line."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise DocvlmError(f"push_to={repo}: {_advice(error, repo)}") from error
    except HTTP_ERROR as error:
        slow = "timeout" in type(error).__name__.lower()
        what = f"the hub did not answer for {TIMEOUT_S:g} s" if slow else f"the hub cannot be reached ({error})"
        raise DocvlmError(f"push_to={repo}: {what}; the same command again sends what is missing") from error
    except (ValueError, OSError) as error:  # an answer that is no answer of the hub, a file that went away
        raise DocvlmError(f"push_to={repo}: {' '.join(str(error).split())}") from error


def _advice(error: Any, repo: str) -> str:
    status, owner = int(error.response.status_code), repo.partition("/")[0]
    said = " ".join((error.server_message or "").split())[:200]
    advice = _ADVICE[status].format(owner=owner) if status in _ADVICE else "the same command again sends it"
    return f"the hub answered {status}{f' ({said})' if said else ''}: {advice}"

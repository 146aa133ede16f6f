"""Where a checkpoint's vision tower, projector and language side are, found in its module tree.

Transformers names its towers and decoders alike (`get_encoder("image")`, `get_decoder()`, 5.17 to 5.23); the blocks of
a tower are the longest list of like modules in it. Where the tree does not tell, `model.tower` and `model.blocks` do.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from docvlm.errors import DocvlmError
from docvlm.vlms.trainable import Parts

_ATTENTION = ("attn", "attention")


@dataclass(frozen=True, slots=True)
class Tree:
    """Names of modules: tower, its list of blocks, the language side, and what stands between the two.

    `loose` are names of parameters between them that no module of their own holds.
    """

    tower: str
    blocks: str
    language: str
    between: tuple[str, ...]
    loose: tuple[str, ...]

    @property
    def outside(self) -> tuple[str, ...]:
        """All that is not the language side."""
        return (self.tower, *self.between)


def found(net: PreTrainedModel, parts: Parts) -> Tree:
    """The parts of a model. Raises `DocvlmError` where one is not found, naming the key that says it."""
    names = {id(module): name for name, module in net.named_modules()}
    language = names.get(id(net.get_decoder()), "")
    tower = parts.tower or names.get(id(net.get_encoder(modality="image")), "")
    if not tower or tower not in names.values():
        raise DocvlmError(
            f"model.tower={tower or 'null'}: no such module; name the vision tower, one of "
            + ", ".join(name for name in names.values() if name and name.count(".") <= 1)
        )
    if not language:
        raise DocvlmError(f"model.checkpoint: {type(net).__name__} has no language model apart from its vision tower")
    blocks = parts.blocks or longest(net.get_submodule(tower), tower)
    if not blocks or blocks not in names.values() or not blocks.startswith(f"{tower}."):
        raise DocvlmError(
            f"model.blocks={blocks or 'null'}: no list of blocks in {tower}; name one, such as {tower}.encoder.layers"
        )
    return Tree(tower, blocks, language, *_between(net, tower, language))


def lora_targets(net: PreTrainedModel, language: str) -> tuple[str, ...]:
    """Names of the linear layers in the language side's attention; of all its layers where none is called so."""
    linear = [
        name for name, module in net.get_submodule(language).named_modules() if isinstance(module, nn.Linear) and name
    ]
    attention = [name for name in linear if any(word in name.rpartition(".")[0].lower() for word in _ATTENTION)]
    return tuple(dict.fromkeys(name.rpartition(".")[2] for name in attention or linear))


def blocks(net: PreTrainedModel, tree: Tree) -> list[tuple[str, list[str], list[str]]]:
    """Name, modules and loose parameters of every block, from input to output; together they hold the tower once.

    What lies before the list of blocks belongs to the first, what lies after it, and the projector, to the last.
    Parameters that no module of their own holds are loose: PEFT does not save them, so they learn only without adapter.
    """
    leaves = _leaves(net.get_submodule(tree.tower), tree.tower, tree.blocks)
    at, depth = leaves.index(tree.blocks), len(net.get_submodule(tree.blocks))  # type: ignore[arg-type]  # a ModuleList
    modules = [[f"{tree.blocks}.{index}"] for index in range(depth)]
    loose: list[list[str]] = [[] for _ in modules]
    modules[0] = [one for name in leaves[:at] for one in _savable(net, name)] + modules[0]
    modules[-1] += [one for name in (*leaves[at + 1 :], *tree.between) for one in _savable(net, name)]
    loose[0] += [one for name in _branches(tree.tower, tree.blocks) for one in _loose(net.get_submodule(name), name)]
    loose[-1] += tree.loose
    return [(f"block {index}", modules[index], loose[index]) for index in range(depth)]


def _savable(net: PreTrainedModel, name: str) -> list[str]:
    """A module with parameters, or the parts of one that is a mere list, which PEFT does not save as one."""
    module = net.get_submodule(name)
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return [one for child, _ in module.named_children() for one in _savable(net, f"{name}.{child}")]
    return [name] if any(True for _ in module.parameters()) else []


def _branches(tower: str, blocks: str) -> list[str]:
    """The modules from the tower down to the list of its blocks, without it."""
    steps = blocks.split(".")
    return [".".join(steps[:end]) for end in range(tower.count(".") + 1, len(steps))]


def _leaves(tower: nn.Module, name: str, blocks: str) -> list[str]:
    """The tower's modules in order: whole ones beside the way to the list of its blocks, and that list."""
    if name == blocks:
        return [name]
    if not blocks.startswith(f"{name}."):
        return [name]
    return [leaf for child, module in tower.named_children() for leaf in _leaves(module, f"{name}.{child}", blocks)]


def _loose(module: nn.Module, name: str) -> list[str]:
    return [f"{name}.{own}" if name else own for own, _ in module.named_parameters(recurse=False)]


def _between(net: PreTrainedModel, tower: str, language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modules, and loose parameters, beside tower and language side: projectors. The vocabulary projection is none."""
    head = net.get_output_embeddings()
    taken = (tower, language)
    found: list[str] = []
    loose: list[str] = []

    def walk(module: nn.Module, name: str) -> None:
        loose.extend(_loose(module, name))
        for child, inner in module.named_children():
            path = f"{name}.{child}" if name else child
            if path in taken or inner is head or not any(True for _ in inner.parameters()):
                continue
            if any(one.startswith(f"{path}.") for one in taken):
                walk(inner, path)
            else:
                found.append(path)

    walk(net, "")
    return tuple(found), tuple(loose)


def longest(side: nn.Module, name: str) -> str:
    """The outermost list of like modules in a side that is longest, then largest; "" where there is none."""
    lists = {
        f"{name}.{inner}": (len(module), sum(p.numel() for p in module.parameters()))
        for inner, module in side.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len({type(one) for one in module}) == 1
        if len(module) > 1
    }
    outer = [one for one in lists if not any(one.startswith(f"{other}.") for other in lists)]
    return max(outer, key=lambda one: lists[one], default="")

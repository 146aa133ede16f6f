"""Which run `best=true` and the report take: that of the setting with the best mean over its seeds."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from docvlm.runs import finished, identity
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from tests.support import runs


def made(folder: str, score: float, *, seed: int = 42, code: str = "now", **config: Any) -> Run:
    """A real run's record with a score, a seed and settings of its own."""
    manifest = json.loads((runs.finished() / "manifest.json").read_text())
    result = runs.result(runs.finished()) | {"code": code}
    data = manifest["config"]["data"] | {"seed": seed}  # as `${seed}` has it
    manifest["seed"], manifest["config"] = seed, manifest["config"] | {"seed": seed, "data": data} | config
    result["selection"] = result["selection"] | {"value": score}
    return Run(RunFolder(Path(folder)), manifest, result)


def chosen(*found: Run) -> str:
    (one,) = finished.best(found).values()
    return str(one).removeprefix("qwen2vl: ")


def test_a_setting_of_one_seed_competes_with_its_one_score() -> None:
    many = [made(f"m{seed}", 0.5 + seed / 100, seed=seed, freeze=33.0) for seed in range(3)]
    one = made("one", 0.6)
    said = "freeze=100 has the highest val score (0.600 on docvqa-generated, one seed only); its run one is used"
    assert chosen(one, *many) == chosen(*many, one) == said
    assert chosen(*many, made("one", 0.515)).startswith("freeze=100 has the highest"), "the best single run has 0.520"
    better = "freeze=33 has the highest mean val score over 3 seeds (0.510 ± 0.010 on docvqa-generated)"
    assert chosen(*many, made("one", 0.505)) == f"{better}; its run m2, the best of them, is used"


def test_without_a_rival_no_setting_is_named() -> None:
    said = "the only setting has a val score (0.600 on docvqa-generated, one seed only); its run one is used"
    assert chosen(made("one", 0.6)) == said
    renamed = made("two", 0.6, seed=1, name="mine", packing="off")  # what decides no weight makes no other setting
    assert chosen(made("one", 0.6), renamed).startswith(
        "the only setting has a mean val score over 2 seeds (0.600 ± 0.000"
    )


def test_a_seed_that_was_trained_again_counts_once() -> None:
    before, after, other = made("before", 0.9), made("after", 0.5), made("other", 0.6, seed=1)
    assert chosen(before, after, other).startswith("the only setting has a mean val score over 2 seeds (0.550 ±")


def test_other_code_or_other_pages_are_another_setting() -> None:
    one, two = made("one", 0.5), made("two", 0.7, seed=1, code="before")
    said = (
        "the setting of two has the highest val score (0.700 on docvqa-generated, one seed only); its run two is used"
    )
    assert chosen(one, two) == said
    other = copy.deepcopy(one.manifest)
    other["data"]["fingerprint"] = "of other pages"
    assert identity.setting(other, "now") != identity.setting(one.manifest, "now")

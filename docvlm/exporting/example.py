"""What the Python of a card says for every runtime without torch: the question, and the page as docvlm resizes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docvlm.data.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from docvlm.exporting.source import Source

_RESIZED = """\
page = Image.open("page.png").convert("RGB")
sides = [max(1, round(side / {unit})) * {unit} for side in page.size]
if sides[0] * sides[1] > {most}:  # {why}
    shrink = (page.width * page.height / {most}) ** 0.5
    sides = [max(1, int(side / shrink / {unit})) * {unit} for side in page.size]"""


def parts(source: Source, why: str) -> dict[str, Any]:
    """`question`, `longest` (tokens of an answer), `tokens` (of the largest page), and `resized`.

    The last is code that puts into `sides` what docvlm resizes `page` to, but for `jpeg_quality`, and for pages below
    `min_pixels`, which only grow, by the runtime. `why` is the remark at pages that shrink.
    """
    phrase, vision = BENCHMARKS[source.benchmark], source.config.vision_config
    unit, most = vision.patch_size * vision.spatial_merge_size, source.record["budget"]["max_pixels"]
    return {
        "question": "What is the total?" + phrase.instruction,
        "longest": phrase.max_new_tokens,
        "tokens": most // unit**2,
        "resized": _RESIZED.format(unit=unit, most=most, why=why),
    }

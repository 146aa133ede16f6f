"""What the leakage audit finds and what it takes for a copy that is none.

Recall: pages are copied as scans and uploads copy them, and each copy is audited against its page, with the limits a
run has. False alarms: every pair of pages of the folder is audited; pairs of pages that are identical to the pixel are
copies and counted apart, and every other pair that the audit takes for one page is named, to be looked at. Without
`--pages` pages are drawn.

    python -m bench.audit --pages FOLDER --copies 60
    python -m bench.audit --preset tiny --seed 1
    python -m bench.audit --first
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from docvlm import build
from docvlm.config import TrainConfig
from docvlm.config.compose import load
from docvlm.data.example import Page
from docvlm.data.generated import documents
from docvlm.data.leakage import registration
from docvlm.data.leakage.audit import LIKE, SAME, audit
from docvlm.data.leakage.candidates import BITS_APART
from docvlm.data.leakage.hashes import BITS, PageHash, distances, margins, page_hash
from docvlm.data.pages import FilePage

SUFFIXES = (".jpg", ".jpeg", ".png")
CROP = 0.03
Change = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Change:
    def encoded(image: Image.Image) -> Image.Image:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        return Image.open(content).convert("RGB")

    return encoded


def scaled(factor: float) -> Change:
    return lambda image: image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))), Image.Resampling.BICUBIC
    )


def turned(degrees: float) -> Change:
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")


def cropped(left: float, top: float, right: float, bottom: float) -> Change:
    return lambda image: image.crop(
        (
            round(image.width * left),
            round(image.height * top),
            round(image.width * (1 - right)),
            round(image.height * (1 - bottom)),
        )
    )


def lit(factor: float) -> Change:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def together(image: Image.Image) -> Image.Image:
    return jpeg(50)(scaled(0.75)(turned(-0.5)(lit(1.1)(image))))


CHANGES: dict[str, Change] = {
    "JPEG, quality 75": jpeg(75),
    "JPEG, quality 50": jpeg(50),
    "scaled by 0.5": scaled(0.5),
    "scaled by 0.75": scaled(0.75),
    "scaled by 1.5": scaled(1.5),
    "skew 1°": turned(1),
    "skew -1°": turned(-1),
    "crop of 3 % on every side": cropped(CROP, CROP, CROP, CROP),
    "crop of 2 % on every side": cropped(0.02, 0.02, 0.02, 0.02),
    "crop of 3 % at left and top": cropped(CROP, CROP, 0, 0),
    "crop of 3 % at the left": cropped(CROP, 0, 0, 0),
    "brightness -20 %": lit(0.8),
    "brightness +20 %": lit(1.2),
    "skew -0.5°, brightness +10 %, scaled by 0.75, JPEG 50": together,
}


def pages_of(folder: Path | None, count: int, preset: str, seed: int) -> list[Page]:
    """Pages of a folder, or drawn ones of all kinds."""
    if folder is not None:
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise SystemExit(f"{folder}: no .jpg or .png in it")
        return [FilePage(str(file)) for file in files]
    names = ("docvqa", "chartqa", "infovqa")
    return [d[0].pages[0] for name in names for d in documents(name, "train", max(1, count // 3), preset, seed)]


def looked_at(one: Image.Image, other: Image.Image, hashes: tuple[PageHash, PageHash]) -> float:
    return registration.agreement(registration.sketch(one), registration.sketch(other), margins(*hashes))


def close(one: PageHash, other: PageHash) -> bool:
    ((_, block),) = distances([one], [other])
    return bool(block[0, 0] <= BITS_APART)


def recall(images: list[tuple[Image.Image, PageHash]]) -> None:
    """`found`: by the page alone; `with its questions`: where the copy is asked the same and answered alike."""
    print(
        "| copy | copies | hashes close | found | with its questions | least agreement of those close |\n"
        "|---|---|---|---|---|---|"
    )
    for name, change in CHANGES.items():
        agreed = []
        for image, known in images:
            copy = change(image)
            copied = page_hash(copy)
            if close(known, copied):
                agreed.append(looked_at(image, copy, (known, copied)))
        counts = (len(agreed), *(sum(share >= limit for share in agreed) for limit in (SAME, LIKE)))
        least = f"{min(agreed):.3f}" if agreed else "-"
        shares = " | ".join(f"{count / len(images):.1%}" for count in counts)
        print(f"| {name} | {len(images)} | {shares} | {least} |", flush=True)


def alarms(pages: list[Page], known: list[PageHash]) -> dict[str, float]:
    """Counts over all pairs of pages, the time of the second look, and the highest agreement of two different pages."""
    sketches = [registration.sketch(page.open()) for page in pages]
    counts: dict[str, float] = {"pairs": len(pages) * (len(pages) - 1) / 2, "identical": 0, "close": 0, "like": 0}
    agreed: list[float] = []
    begun = time.process_time()
    for start, block in distances(known, known):
        for row, column in np.argwhere(block <= BITS_APART):
            one, other = start + int(row), int(column)
            if one >= other:
                continue
            if known[one].pixels == known[other].pixels:
                counts["identical"] += 1
                continue
            counts["close"] += 1
            agreed.append(registration.agreement(sketches[one], sketches[other], margins(known[one], known[other])))
            if agreed[-1] >= SAME:
                print(f"alarm: {pages[one].name} = {pages[other].name}, agreement {agreed[-1]:.3f}", flush=True)
    counts["seconds"] = time.process_time() - begun
    counts["prefiltered"] = sum(share == 0 for share in agreed)
    counts["like"] = sum(share >= LIKE for share in agreed)
    counts["alarms"] = sum(share >= SAME for share in agreed)
    counts["highest"] = max(agreed, default=0.0)
    return counts


def first_audit(times: int = 8) -> None:
    """Seconds of CPU that the audit before a tiny run takes where no page is known yet."""
    data = build.datamodule(load("train", TrainConfig, ["scale=tiny"]).data)
    splits = (data.train, {"val": data.val, "test": data.test})
    taken = []
    for _ in range(times):
        begun = time.process_time()
        found = audit(*splits)
        taken.append(time.process_time() - begun)
    print(f"{found.pages} pages, {found.compared} pairs looked at: least of {times} {min(taken):.2f} s of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, help="folder with images, at any depth; without it pages are drawn")
    parser.add_argument("--count", type=int, default=60, help="pages to draw without --pages")
    parser.add_argument("--preset", choices=("tiny", "full"), default="full", help="of drawn pages")
    parser.add_argument("--seed", type=int, default=0, help="of drawn pages")
    parser.add_argument("--copies", type=int, default=60, help="pages that are copied")
    parser.add_argument("--first", action="store_true", help="only time the audit before a tiny run")
    args = parser.parse_args()
    if args.first:
        first_audit()
        return
    pages = pages_of(args.pages, args.count, args.preset, args.seed)
    opened, taken, known = 0.0, 0.0, []
    chosen = set(np.random.default_rng(0).permutation(len(pages))[: args.copies].tolist())
    images = []
    for number, page in enumerate(pages):
        begun = time.process_time()
        image = page.open()
        half = time.process_time()
        known.append(page_hash(image))
        opened, taken = opened + half - begun, taken + time.process_time() - half
        if number in chosen:
            images.append((image, known[-1]))
    print(f"{len(pages)} pages; limits: {BITS_APART} of {BITS} bits, agreement {SAME}\n", flush=True)
    recall(images)
    found = alarms(pages, known)
    each = 1000 * found["seconds"] / max(1.0, found["close"])
    print(
        "\n| pairs of pages | identical to the pixel | hashes close | told apart by the prefilter |"
        f" agreement from {LIKE} | from {SAME}: taken for one page | highest agreement |\n"
        "|---|---|---|---|---|---|---|\n"
        f"| {found['pairs']:.0f} | {found['identical']:.0f} | {found['close']:.0f} | {found['prefiltered']:.0f} |"
        f" {found['like']:.0f} | {found['alarms']:.0f} | {found['highest']:.3f} |\n\n"
        f"ms of CPU: opening a page {1000 * opened / len(pages):.1f}, its print {1000 * taken / len(pages):.1f},"
        f" the second look at a pair {each:.1f}"
    )


if __name__ == "__main__":
    main()

"""How long a run takes to start: own pages read, judged, compared and counted, up to where weights would load.

    python -m bench.reading FOLDER --questions 12000       makes FOLDER where it is not there, reads it, says how long

To compare two versions, run this file by its path from either checkout, in turn, and compare whole processes: what
matters to a user is the time from the command to the first epoch. Prints of pages are kept beside FOLDER, so the first
reading is slower than every other.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from PIL import Image, ImageDraw

PER_PAGE = 4
SIZE = (850, 1100)  # a letter page at 100 dpi
LINES = 40
BLOCKS = 12


def made(folder: Path, questions: int) -> Path:
    """A folder of own pages with this many questions, made once."""
    if (folder / "qa.jsonl").exists():
        return folder
    (folder / "images").mkdir(parents=True)
    draw = random.Random(0)
    rows = []
    for page in range(questions // PER_PAGE):
        words = ["".join(draw.choices("abcdefghij 0123456789", k=60)) for _ in range(LINES)]
        image = Image.new("L", SIZE, 255)
        pen = ImageDraw.Draw(image)
        for _ in range(BLOCKS):  # or all pages would look alike, and the audit would compare every pair of them
            x, y = draw.randrange(SIZE[0] - 200), draw.randrange(SIZE[1] - 200)
            pen.rectangle((x, y, x + draw.randrange(50, 200), y + draw.randrange(50, 200)), fill=draw.randrange(200))
        for number, text in enumerate(words):
            pen.text((40, 30 + 26 * number), text, fill=0)
        image.save(folder / "images" / f"{page}.png")
        rows += [
            {"image": f"images/{page}.png", "question": f"What stands in line {line}?", "answers": [words[line][:12]]}
            for line in range(PER_PAGE)
        ]
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read(folder: Path) -> float:
    """Seconds that the verb's own first stage takes, with its imports behind it."""
    from docvlm.config import Job, TrainConfig
    from docvlm.config.compose import load
    from docvlm.training import run

    words = [
        "scale=tiny", "data=folder", f"data.source={folder}", "data.limit_train=null", "data.limit_val=null",
        "data.limit_test=null", f"features_folder={folder.parent / '.features'}",
    ]  # fmt: skip
    cfg = load("train", TrainConfig, words)
    job = Job(folder.parent / "run")
    job.folder.mkdir(exist_ok=True)
    began = time.perf_counter()
    run.read(cfg, job)
    return time.perf_counter() - began


def main() -> None:
    """Make, read, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=12_000)
    flags = parser.parse_args()
    folder = made(flags.folder.resolve(), flags.questions)
    print(f"{read(folder):.2f} s to read {flags.questions} questions")


if __name__ == "__main__":
    main()

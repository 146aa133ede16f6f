"""Answer questions about images, PDFs, folders of them, or the lines of a JSONL file.

    docvlm-predict --run outputs/2026-01-31_12-00-00-000000 --question "What is the total?" invoice.png
    docvlm-predict --run DIR --question "Who signs?" --question "On which day?" --pages 1,4-5 contract.pdf
    docvlm-predict --run DIR --question "Who signs?" --best-page contract.pdf
    docvlm-predict --run DIR --question "Who signs?" --selector text --selector-pages 2 contract.pdf
    docvlm-predict --run DIR --question "What is the total?" --output totals.csv scans/
    docvlm-predict --run DIR --format jsonl questions.jsonl
    docvlm-predict --checkpoint embedded --family qwen2vl --question "What is the total?" -- - < page.png

Plain flags instead of Hydra's grammar, which gives meaning to characters that questions hold. The pixel budget is the
run's own, or the checkpoint's. Answers go to standard output and nothing else does: latency (opening the pages,
encoding them and decoding, not loading the model) and notes go to standard error. With --output FILE answers are kept
in FILE.part as they come; where a command breaks off, the same one goes on from there. docs/guide/predict.md has more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import startup
from docvlm.data.reading import BEST, SELECTORS, Reading, Selection
from docvlm.selection import chooser
from docvlm.serving.flags import add_model, check_model, positive
from docvlm.writing import full, one_line_errors, unwritable

if TYPE_CHECKING:
    from docvlm.serving.batch import Batch
    from docvlm.serving.reader import Reader
    from docvlm.serving.sources import Source
    from docvlm.vlms.codec import Codec

LONGEST = 64  # tokens of an answer that room is kept for where no flag says how long one may be
LAST_PAGE = 999_999  # no document has as many
_BROKEN_PIPE = 141  # what a shell says of a command whose reader went away: 128 + SIGPIPE


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the flags, read what is asked, load, answer and write, say how long it took."""
    flags = _flags(argv)
    from docvlm.serving import sources, writers  # not for --help

    form = writers.form(flags.format, flags.output)
    if flags.output is not None:
        writers.check_output(flags.output, flags.files)
    source = sources.read(flags.files, flags.question, numbers=flags.pages, each_page=flags.each_page)
    if source.passed_over:
        names = ", ".join(source.passed_over[:3]) + (" …" if len(source.passed_over) > 3 else "")
        print(f"passed over {len(source.passed_over)}, neither image nor PDF: {names}", file=sys.stderr)
    named = _name_bad_lines(source, 0)
    codec, longest = _asked(flags)
    source = sources.gate(source, codec, longest, _reading(flags, codec.reading))
    _name_bad_lines(source, named)
    if source.quarantine is not None:
        print(source.quarantine, file=sys.stderr)
    reader = _reader(flags)

    from docvlm.serving.batch import Batch

    shown = sys.stderr if flags.output is not None and sys.stderr.isatty() else None
    batch = Batch(reader, source.tasks, flags.max_new_tokens, shown)
    if flags.output is not None:
        _to_file(batch, form, flags)
    else:
        _to_pipe(batch, form)
    print("\n".join(batch.summary()), file=sys.stderr)
    if source.quarantine is not None and source.quarantine.rejected:
        raise SystemExit(1)  # everything that could be answered was


def _name_bad_lines(source: Source, known: int) -> int:
    """Say which lines are left out, beyond those that were `known`; how many are now."""
    rejected = [] if source.quarantine is None else source.quarantine.rejected
    for one in rejected[known:]:
        print(f"left out: {one.where}: {one.reason}", file=sys.stderr)
    return len(rejected)


def _asked(flags: argparse.Namespace) -> tuple[Codec, int]:
    """What judges questions before weights load: the model's codec, and how long an answer may be."""
    with startup.libraries():
        from docvlm.serving.reader import load_codec

    source = flags.run if flags.run is not None else flags.checkpoint
    codec = load_codec(source, family=flags.family, base=flags.base, offline=flags.offline)
    return codec, flags.max_new_tokens or LONGEST


def _to_file(batch: Batch, form: str, flags: argparse.Namespace) -> None:
    from docvlm.serving import kept, writers
    from docvlm.serving.reader import weights_of

    if flags.output.exists():
        print(f"{flags.output}: is there already; it is replaced once all answers are there", file=sys.stderr)
    weights = None if flags.run is None else weights_of(flags.run)
    model = kept.name_of(batch.reader, weights, flags.max_new_tokens)
    with kept.kept(flags.output, model, batch.groups) as batch.kept:
        writers.write_file(list(batch), batch.tasks, form, flags.output)


def _to_pipe(batch: Batch, form: str) -> None:
    from docvlm.serving import writers

    try:
        writers.write(batch, batch.tasks, form, sys.stdout)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and not full(error):
            raise
        # Nobody takes the rest, and Python itself would complain when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # `| head`
            raise SystemExit(_BROKEN_PIPE) from None
        raise unwritable("standard output", error) from error


def _reader(flags: argparse.Namespace) -> Reader:
    from docvlm.serving.reader import load

    source = flags.run if flags.run is not None else flags.checkpoint
    reader = load(source, family=flags.family, benchmark=flags.benchmark, base=flags.base, offline=flags.offline)
    reads = _reading(flags, reader.reading)
    return replace(reader, reads=reads, choose=chooser(reads.selection, offline=flags.offline))


def _reading(flags: argparse.Namespace, trained: Reading) -> Reading:
    """How a document is read: as the flags say, else as the model was trained."""
    if flags.selector is not None:
        chosen = Selection(flags.selector, flags.selector_pages, flags.selector_checkpoint or "")
        return replace(trained, selection=chosen)
    return replace(trained, pages=BEST, selection=Selection()) if flags.best_page else trained


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "docvlm-predict", description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser)
    parser.add_argument("--question", action="append", default=[], metavar="TEXT", help="give it once a question")
    parser.add_argument("--pages", type=_numbers, metavar="LIST", help="which pages of a PDF: 2 or 1,4-6; default all")
    parser.add_argument("--each-page", action="store_true", help="ask every page on its own, not the document")
    parser.add_argument(
        "--best-page",
        action="store_true",
        help="ask every page on its own, and give the most confident answer of a document with its page",
    )
    parser.add_argument("--selector", choices=SELECTORS, help="what chooses the pages of a document that are read")
    parser.add_argument("--selector-pages", type=positive, default=1, metavar="N", help="how many of them; default 1")
    parser.add_argument("--selector-checkpoint", metavar="NAME", help="a folder or a hub id, of colmodernvbert")
    parser.add_argument("--format", choices=("text", "jsonl", "csv"), help="default the output's suffix, else text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="there once all is answered, FILE.part till then")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="image or PDF (several: pages of one document), folder, .jsonl, or -"
    )
    flags = parser.parse_args(argv)
    check_model(parser, flags)
    if flags.best_page and flags.each_page:
        parser.error("--each-page gives the answers of all pages, --best-page one of them; leave one out")
    if flags.selector is not None and (flags.best_page or flags.each_page):
        parser.error("--selector chooses the pages, which --best-page and --each-page ask all; leave one out")
    if (flags.selector == "colmodernvbert") != bool(flags.selector_checkpoint):
        parser.error("--selector-checkpoint goes with --selector colmodernvbert; give both or neither")
    return flags


def _numbers(text: str) -> tuple[int, ...]:
    """Page numbers from 1, in the order given."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(_is_number(end) for end in ends) or int(ends[0]) > int(ends[1]):
            raise argparse.ArgumentTypeError(f"{part.strip() or text}: give page numbers from 1, such as 2 or 1,4-6")
        numbers.extend(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(numbers)


def _is_number(text: str) -> bool:
    """Whether a text is the number of a page: a range to a billion is a slip, and a billion numbers fill the memory."""
    return text.isdecimal() and 0 < int(text) <= LAST_PAGE


script = startup.script(main)

if __name__ == "__main__":
    script()

"""Answers, notices and the head of the page as HTML. Everything a person or a model wrote is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from docvlm.serving.app.models import says

if TYPE_CHECKING:
    from docvlm.serving.app.models import Contender, Reply
    from docvlm.serving.app.samples import Sample

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL = 240  # pixels wide: twice as drawn, for sharp screens


def header(contenders: Sequence[Contender]) -> str:
    """Title, models, and what a miniature cannot do."""
    miniature = any(one.miniature for one in contenders)
    return _environment().get_template("header.html.j2").render(contenders=contenders, miniature=miniature)


def samples(drawn: Sequence[Sample], chosen: int | None) -> str:
    """A button a sample page, with its picture; `chosen` is the one that lies on the desk."""
    pictures = [_thumbnail(one) for one in drawn]
    return _environment().get_template("samples.html.j2").render(samples=drawn, pictures=pictures, chosen=chosen)


def answers(titles: Sequence[str], replies: Sequence[Reply], expected: Mapping[str, str]) -> str:
    """A card a question, a column a model. `expected`: right answers by question, where they are known."""
    template = _environment().get_template("answers.html.j2")
    return template.render(titles=titles, replies=replies, expected=expected)


def notice(message: str) -> str:
    """Something to mend, read out by screen readers as it appears."""
    return _environment().get_template("notice.html.j2").render(message=message)


@cache
def _thumbnail(sample: Sample) -> str:
    """A small picture as a data URI."""
    image = sample.drawn.open()
    image.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "webp")
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["says"] = says
    environment.filters["zip"] = lambda ours, theirs: zip(ours, theirs, strict=True)
    return environment

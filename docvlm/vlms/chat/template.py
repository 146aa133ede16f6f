"""What a checkpoint's chat template writes around an answer, found by comparing it with and without one.

An answer is learned in the very place where it will be generated: behind the prompt that asks for it. That prompt may
say more than stands before an answer in a chat of the past (an empty thought, another space), or less (a space that the
model has to say); a template that puts different words there gives no such place, and is refused. Templates run in the
sandbox of Transformers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from jinja2 import TemplateError

from docvlm.errors import DocvlmError
from docvlm.vlms.message import user

_SETTINGS = {"enable_thinking": False}
"""What some templates ask for besides the conversation: answers without a chain of thought."""
_QUESTION = "What is the total?"
_ANSWERS = ("12.50", "ACME Ltd. 3", "Zürich (CH)")


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer's surroundings: what stands before it, after it, and the token that ends the turn, as texts.

    `before` follows the prompt of a generation: a space, in templates that close the prompt without one.
    """

    before: str
    after: str
    end: str


def asked(processor: Any, pages: int, question: str, numbers: Sequence[int] = ()) -> str:
    """The prompt of a question about so many pages, up to where the answer begins; `numbers` are said before them."""
    return _written(processor, [user(question, pages, numbers)], generation=True)


def turn_of(processor: Any, ends: Collection[str], fallback: str) -> Turn:
    """What surrounds an answer. `ends` are the texts of the tokens that stop a generation.

    `fallback` is the one that ends an answer after which the template writes none of them. Raises `DocvlmError` where
    the template does not carry an answer, or not behind the prompt that asks for it.
    """
    if getattr(processor, "chat_template", None) is None:
        raise DocvlmError("chat_template.jinja: the checkpoint has none, so there is no prompt to build")
    prompt = asked(processor, 1, _QUESTION)
    if _QUESTION not in prompt:
        raise _refused("it leaves the question out, or changes it")
    found = {_around(processor, prompt, answer) for answer in _ANSWERS}
    if len(found) > 1:
        raise _refused("what it writes around an answer depends on the answer")
    before, rest = found.pop()
    places = {end: rest.find(end) for end in ends if end in rest}
    if not places:
        return Turn(before, "", fallback)
    first = min(places, key=lambda end: (places[end], -len(end)))
    return Turn(before, rest[: places[first]], first)


def _around(processor: Any, prompt: str, answer: str) -> tuple[str, str]:
    """What stands before and after an answer, behind `prompt`."""
    reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    whole = _written(processor, [user(_QUESTION, 1), reply], generation=False)
    lead, there, rest = whole.partition(answer)
    if not there:
        raise _refused(f"it leaves the answer {answer!r} out, or changes it")
    if lead.startswith(prompt):
        return lead[len(prompt) :], rest
    if _letters(prompt).startswith(_letters(lead)):
        return "", rest
    same = next(place for place, both in enumerate(zip_longest(lead, prompt)) if both[0] != both[1])
    raise _refused(
        f"it asks for an answer with {prompt[same:][:60]!r}, but puts {lead[same:][:60]!r} before one that is there,"
        " so what is learned is not what is generated"
    )


def settings_of(template: str) -> dict[str, bool]:
    """What a template is given besides the conversation; what it does not name is taken for the processor's."""
    return {name: value for name, value in _SETTINGS.items() if name in template}


def _letters(text: str) -> str:
    return "".join(text.split())


def _written(processor: Any, chat: Sequence[dict[str, Any]], *, generation: bool) -> str:
    settings = settings_of(str(processor.chat_template))
    try:
        text: str = processor.apply_chat_template(
            list(chat), tokenize=False, add_generation_prompt=generation, **settings
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise _refused(
            f"it cannot be filled in: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    return text


def _refused(reason: str) -> DocvlmError:
    return DocvlmError(f"chat_template.jinja: {reason}; model=chat cannot train on this checkpoint")

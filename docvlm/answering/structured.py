"""What an answer of a served model may be: one of a few texts (`choices`), or JSON of a schema (`json_schema`).

    from docvlm.answering.structured import Choices
    served.ask(pages, "Is it paid?", 8, Choices(("yes", "no")))

A server is told with each request and decodes within it. One that does not know the field passes over it without a
word, as vLLM does with `guided_choice` since 0.12; so every answer is looked at here as well.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.config import EvaluateConfig

INSTALL = "pip install 'docvlm[schema]'"


class Structured(ABC):
    """What answers may be."""

    @property
    @abstractmethod
    def request(self) -> dict[str, Any]:
        """The part of a request that says so."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What results record of it: it decides answers."""

    @abstractmethod
    def why_not(self, text: str) -> str | None:
        """Why `text` is no such answer, to come after "an answer that"; None where it is one."""

    @abstractmethod
    def begun(self, text: str) -> bool:
        """Whether `text`, which a limit on tokens cut, may be the beginning of such an answer."""

    def answer(self, text: str) -> str:
        """The part of an answer that is scored."""
        return text


@dataclass(frozen=True)
class Choices(Structured):
    """One of these texts, by vLLM's `structured_outputs`. No text of them is empty or has space around it."""

    texts: tuple[str, ...]

    @property
    def request(self) -> dict[str, Any]:
        return {"structured_outputs": {"choice": list(self.texts)}}

    @property
    def described(self) -> dict[str, Any]:
        return {"choices": list(self.texts)}

    def why_not(self, text: str) -> str | None:
        return None if text in self.texts else f"is none of choices=[{', '.join(self.texts)}]"

    def begun(self, text: str) -> bool:
        return any(choice.startswith(text) for choice in self.texts)


@dataclass(frozen=True)
class JsonSchema(Structured):
    """JSON that a schema (draft 2020-12) allows, by OpenAI's `response_format`; `field` of it is scored, or all of it.

    Raises `DocvlmError` for what is no schema, and for a `field` that an answer may lack.
    """

    schema: dict[str, Any]
    field: str | None = None
    _validator: Any = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if find_spec("jsonschema") is None:
            raise DocvlmError(f"json_schema: jsonschema, which checks the answers, is not installed; {INSTALL}")
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            Draft202012Validator.check_schema(self.schema)
        except SchemaError as error:
            raise DocvlmError(f"json_schema: no JSON schema: {error.json_path}: {error.message}") from error
        object.__setattr__(self, "_validator", Draft202012Validator(self.schema))
        if self.field is not None and self.field not in self.schema.get("required", ()):
            raise DocvlmError(f"json_field={self.field}: the schema does not require it; put it under `required`")

    @property
    def request(self) -> dict[str, Any]:
        about = {"name": "answer", "schema": self.schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": about}}

    @property
    def described(self) -> dict[str, Any]:
        return {"json_schema": self.schema, "json_field": self.field}

    def why_not(self, text: str) -> str | None:
        from jsonschema.exceptions import best_match

        try:
            found = json.loads(text)
        except ValueError as error:
            return f"is no JSON ({error})"
        wrong = best_match(self._validator.iter_errors(found))
        return None if wrong is None else f"json_schema does not allow ({wrong.json_path}: {wrong.message})"

    def begun(self, text: str) -> bool:
        return True  # there is no telling

    def answer(self, text: str) -> str:
        if self.field is None:
            return text
        value = json.loads(text)[self.field]
        return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def structured(cfg: EvaluateConfig) -> Structured | None:
    """What the config says of answers; None: nothing. Raises `DocvlmError` for a file that holds no schema."""
    if cfg.choices is not None:
        return Choices(tuple(cfg.choices))
    if cfg.json_schema is None:
        return None
    path = Path(cfg.json_schema).expanduser()
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DocvlmError(f"json_schema={path}: cannot be read: {error}") from error
    if not isinstance(schema, dict):
        raise DocvlmError(f"json_schema={path}: no JSON schema, which is an object in braces")
    return JsonSchema(schema, cfg.json_field)

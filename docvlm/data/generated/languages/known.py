"""The languages that pages are drawn in, by ISO 639-1 code."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.data.generated.languages import ar, de, hi, ja, ko, zh
from docvlm.data.generated.languages.language import Language
from docvlm.errors import DocvlmError

ENGLISH = "en"
"""Drawn by the generators of each benchmark; the others stand here."""
LANGUAGES: dict[str, Language] = {module.LANGUAGE.code: module.LANGUAGE for module in (ko, zh, ja, de, ar, hi)}


def checked(codes: Sequence[str]) -> tuple[str, ...]:
    """The codes, if each is known and none stands twice. Raises DocvlmError that names the first that is not."""
    known = (ENGLISH, *LANGUAGES)
    for code in codes:
        if code not in known:
            raise DocvlmError(f"data.languages: unknown language {code!r}; generated pages know {', '.join(known)}")
    if not codes or len(set(codes)) < len(codes):
        raise DocvlmError(f"data.languages=[{','.join(codes)}]: give each language once, at least one")
    return tuple(codes)

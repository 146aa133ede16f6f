"""Yaml files that hold facts and not settings (prices, published scores): read onto a schema, with one-line errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from docvlm.errors import DocvlmError

T = TypeVar("T")


def read_table(path: Path, schema: type[T], key: str = "") -> T:
    """The file as an instance of the dataclass `schema`. Raises `DocvlmError`, which begins with `key` and the path."""
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        value: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.load(path)))
    except MissingMandatoryValue as error:
        raise DocvlmError(f"{key}{path}: {error.full_key}: a value is needed") from error
    except ConfigKeyError as error:
        raise DocvlmError(f"{key}{path}: {error.full_key}: there is no such key") from error
    except OmegaConfBaseException as error:
        first = (error.msg or str(error)).strip().splitlines()[0]
        raise DocvlmError(f"{key}{path}: {error.full_key or 'the file'}: {first}") from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DocvlmError(f"{key}{path}: {' '.join(str(error).split())}") from error
    assert isinstance(value, schema)
    return value

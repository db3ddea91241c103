"""Settings of a function, read from its environment variables."""

import json
import os
from collections.abc import Mapping
from typing import Any

import msgspec


class SettingsError(Exception):
    """A setting is missing or malformed; the message names the environment variable."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a function's settings: the field `conversations_table` is the variable `CONVERSATIONS_TABLE`.

    A variable that is unset or empty counts as absent: the field's default holds, or loading fails. Fields that are
    not plain text or numbers (`models: dict[str, list[str]]`) are written as JSON.
    """

    @classmethod
    def load[S: Settings](cls: type[S], environment: Mapping[str, str] | None = None) -> S:
        """The settings from `environment` (default: this process's). Raises SettingsError with the variable's name."""
        variables = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            name = field.name.upper()
            value = variables.get(name, "")
            if not value:
                if field.required:
                    raise SettingsError(f"The environment variable {name} is missing.")
                continue
            try:
                values[field.name] = _parse(value, field.type)
            except (ValueError, msgspec.ValidationError) as error:
                raise SettingsError(f"The environment variable {name} is malformed: {error}") from error
        return cls(**values)


def _parse(value: str, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        if not value.lstrip().startswith(("{", "[")):
            raise
        return msgspec.convert(json.loads(value), kind)

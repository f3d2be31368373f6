"""Settings: frozen, validated objects that reject unknown keys and name the nearest right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from backbones.core.errors import FrostlineError, nearest


class Settings(BaseModel):
    """Base of every settings object: immutable, typed, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``.

        Args:
            values: key -> raw value (strings are converted where the field's type allows it).
            where: what is being set, for the message, such as ``"PAT 'vpt'"``.

        Raises:
            FrostlineError: one line for each wrong key or value: value, rule, nearest key.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            lines = [_explain(cls, item) for item in error.errors()]
            raise FrostlineError(f"settings of {where}: " + "; ".join(lines)) from None


def _explain(cls: type[Settings], item: Any) -> str:
    path = _dotted(item["loc"])
    if item["type"] == "extra_forbidden":
        names = _keys_beside(cls, item["loc"])
        close = nearest(path, names)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown key {path!r}.{hint} Known keys: {', '.join(names) or 'none'}."
    rule = item["msg"].removeprefix("Value error, ")
    rule = rule[:1].lower() + rule[1:].rstrip(".") + "."
    if isinstance(item["input"], Mapping) and item["type"] == "value_error":  # the rule names what is wrong in it
        return f"{path}: {rule}" if path else rule
    value = repr(item["input"])
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    return f"{path or 'value'} = {shown}: {rule}"


_SHOWN = 200


def _dotted(loc: tuple[int | str, ...]) -> str:
    """Join the parts of a path; a part with a dot of its own is quoted, as TOML does."""
    return ".".join(f'"{part}"' if "." in str(part) else str(part) for part in loc)


def _keys_beside(cls: type[Settings], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that could stand where ``loc`` points to, written from the top."""
    holder: Any = cls
    for part in loc[:-1]:
        holder = _inside(holder, part)
    if not (isinstance(holder, type) and issubclass(holder, BaseModel)):
        return []
    before = f"{_dotted(loc[:-1])}." if loc[:-1] else ""
    return [before + name for name in holder.model_fields]


def _inside(holder: Any, part: int | str) -> Any:
    """Return the annotation of what lies under ``part``: of a model's field, a table's value or a list's item."""
    if isinstance(holder, type) and issubclass(holder, BaseModel):
        field = holder.model_fields.get(str(part))
        return field.annotation if field is not None else None
    arguments = [argument for argument in get_args(holder) if argument not in (Ellipsis, type(None))]
    return arguments[-1] if arguments and get_origin(holder) in (dict, list, tuple) else None


def parse_pairs(pairs: list[str], where: str) -> dict[str, str]:
    """Split ``key=value`` words; raises FrostlineError for a word without ``=`` or a key given twice."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not sign or not key:
            raise FrostlineError(f"{where}: {pair!r} is not of the form key=value, such as length=10.")
        if key in values:
            raise FrostlineError(f"{where}: the key {key!r} is given twice ({values[key]!r} and {value!r}); keep one.")
        values[key] = value.strip()
    return values

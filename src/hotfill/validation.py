"""What pydantic found wrong with a file or a value, in words that name the key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import ValidationError


def explained(error: ValidationError, section: type, *, within: str = "") -> str:
    """Say which keys are wrong, what was expected, what came, and what was probably meant.

    section: the pydantic model or dataclass that refused. within: a prefix for every key.
    """
    return "; ".join(_in_words(problem, section, within) for problem in error.errors())


def _in_words(problem: Any, section: Any, within: str) -> str:
    place, sections = _located(problem["loc"], section)
    path = [part for part in place if part != "[key]"]
    where = within + ".".join(path)
    came = f"got {problem['input']!r}"
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return f"{where}: field required"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown key {where!r}; {_meant(path[-1], sections[0])}"
        case "union_tag_invalid":  # the input is a whole section, with its secrets
            return f"{where}.kind: expected {limits['expected_tags']}, got {limits['tag']!r}"
        case "literal_error":
            *most, last = limits["expected"].replace("'", "").split(" or ")
            return f"{where} must be one of {', '.join([*most, last])}, {came}"
        case "greater_than":
            return f"{where} must be > {_plain(limits['gt'])}, {came}"
        case "greater_than_equal":
            return f"{where} must be >= {_plain(limits['ge'])}, {came}"
        case "less_than":
            return f"{where} must be < {_plain(limits['lt'])}, {came}"
        case "less_than_equal":
            return f"{where} must be <= {_plain(limits['le'])}, {came}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{where} must be a whole number, {came}"
        case "float_type" | "float_parsing":
            return f"{where} must be a number, {came}"
        case "bool_type" | "bool_parsing":
            return f"{where} must be true or false, {came}"
        case "string_type":
            return f"{where} must be a text, {came}"
        case "value_error":
            return f"{where}: {limits['error']}, {came}"
        case "finite_number":
            return f"{where} must be a finite number, {came}"
    return f"{where}: {problem['msg'].lower()}, {came}"


def _meant(name: str, section: Any) -> str:
    """Name the known key that is nearest, or all."""
    known = list(_fields(section))
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _located(place: tuple[str | int, ...], section: Any) -> tuple[list[str], list[Any]]:
    """Return the keys that lead to a place, and the section that the last one is in.

    A section of several kinds adds its kind to pydantic's place; that is no key of the file.
    """
    path, sections = [], [section]
    for number, part in enumerate(place):
        if len(sections) > 1:
            sections = [each for each in sections if _fields(each)["kind"].default == part]
            continue
        path.append(str(part))
        if isinstance(part, str) and number < len(place) - 1 and part in _fields(sections[0]):
            annotation: Any = _fields(sections[0])[part].annotation
            kinds = [each for each in get_args(annotation) if _fields(each)]
            sections = kinds or [annotation]
    return path, sections


def _fields(section: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(section, "__pydantic_fields__", {})
    return found


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)

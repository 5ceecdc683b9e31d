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
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    where = within + ".".join(path)
    came = f"got {problem['input']!r}"
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return f"{where}: field required"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown key {where!r}; {_meant(problem['loc'], section)}"
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


def _meant(path: tuple[Any, ...], section: Any) -> str:
    """Name the known key that is nearest, or all."""
    for part in path[:-1]:
        if isinstance(part, str):  # a number counts the rows of a list
            annotation = _fields(section)[part].annotation
            section = next(iter(get_args(annotation)), annotation)
    known = list(_fields(section))
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _fields(section: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(section, "__pydantic_fields__", {})
    return found


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)

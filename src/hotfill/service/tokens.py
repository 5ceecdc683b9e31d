"""Tokens: long random texts that let a program in. Only their hash is kept.

A plain SHA-256 is enough because a token has 256 random bits: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

Role: TypeAlias = Literal["read", "write", "operate"]
"""What a caller may do; each includes the one before."""

ROLES: tuple[Role, ...] = ("read", "write", "operate")

_RANDOM_BYTES = 32


class TokenSettings(BaseModel):
    """A token that is let in. sha256: of the token, hexadecimal; the token itself is kept nowhere.

    role: `read` searches and looks, `write` also writes items, `operate` also runs the upgrade.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def make_token() -> str:
    """Make a token. The prefix lets people, and scanners of repositories, recognise it."""
    return f"hotfill_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hash_of(token: str) -> str:
    """Return what is kept of a token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def holder_of(token: str, known: Sequence[TokenSettings]) -> TokenSettings | None:
    """Find whose token it is. Takes as long for a wrong one as for a right one."""
    given = hash_of(token)
    found = None
    for each in known:
        if hmac.compare_digest(given, each.sha256):
            found = each
    return found


def allows(role: Role, needed: Role) -> bool:
    """Tell whether a role includes another."""
    return ROLES.index(role) >= ROLES.index(needed)

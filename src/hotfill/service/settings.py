"""The section [service] of a configuration file.

[service]
host = "127.0.0.1"          # anything but loopback needs tokens
port = 8765
rehearsal = "rehearsal.json"  # of `hotfill rehearse --json`; the dashboard shows its curve

[[service.tokens]]          # made by `hotfill serve --make-token NAME ROLE`
name = "search-frontend"
role = "read"
sha256 = "..."
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hotfill.errors import ConfigError
from hotfill.service.tokens import TokenSettings
from hotfill.validation import explained

if TYPE_CHECKING:
    from hotfill.config import Project


class ServiceSettings(BaseModel):
    """Where the service listens, who is let in, and how much one call may ask for.

    rehearsal: what `hotfill rehearse --json` wrote, for the dashboard; relative to the
        configuration file.
    max_items: in one write.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    tokens: tuple[TokenSettings, ...] = ()
    rehearsal: str | None = None
    max_request_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    max_k: Annotated[int, Field(ge=1)] = 1000
    max_items: Annotated[int, Field(ge=1)] = 500

    def check(self) -> None:
        """Raise ConfigError when strangers could come in, or two tokens have one name."""
        names = [token.name for token in self.tokens]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"[service] tokens: the name {twice[0]!r} stands there twice")
        if not self.tokens and not is_loopback(self.host):
            raise ConfigError(
                f"[service] host = {self.host!r} can be reached from other machines, and there are "
                "no tokens: make one with `hotfill serve --make-token NAME ROLE`, or listen on "
                "127.0.0.1"
            )


def read_settings(project: Project, **changes: object) -> ServiceSettings:
    """Read the section. changes: values that replace those of the file. Raises ConfigError."""
    try:
        settings = ServiceSettings.model_validate({**project.settings.service, **changes})
    except ValidationError as error:
        message = explained(error, ServiceSettings)
        raise ConfigError(f"{project.path}: [service] {message}") from error
    settings.check()
    return settings


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""[hooks] of a configuration file: shell commands at named moments."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, get_args

from hotfill.errors import ConfigError, HotfillError
from hotfill.upgrade.hooks import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.upgrade.hooks import Hooks
    from hotfill.upgrade.status import Status


def shell_hooks(commands: Mapping[str, str]) -> Hooks:
    """Return what runs each command at its moment. Raises ConfigError on an unknown moment."""
    return {_moment(name): _shell(command) for name, command in commands.items()}


def _moment(name: str) -> Moment:
    for moment in get_args(Moment):
        if name == moment:
            return moment  # type: ignore[no-any-return]
    raise ConfigError(f"unknown hook {name!r}; known: {', '.join(get_args(Moment))}")


def _shell(command: str) -> Callable[[Status], None]:
    """Run a shell command with the status in its environment; a failure is an error."""

    def hook(status: Status) -> None:
        facts: Mapping[str, str] = {
            "HOTFILL_PHASE": str(status.phase),
            "HOTFILL_SHARE": f"{status.share:.4f}",
        }
        # What a hook says goes to stderr: stdout is for the result of the command.
        done = subprocess.run(["/bin/sh", "-c", command], env={**os.environ, **facts}, stdout=2)
        if done.returncode:
            raise HotfillError(f"the hook {command!r} failed with exit code {done.returncode}")

    return hook

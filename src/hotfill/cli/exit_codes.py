"""What the number means with which a command ends. Stable: scripts may rely on it."""

from __future__ import annotations

from enum import IntEnum

from hotfill import errors


class ExitCode(IntEnum):
    """The exit codes."""

    OK = 0  # done
    UNEXPECTED = 1  # an error nobody foresaw, with a traceback; a hook that failed
    USAGE = 2  # the command line, the configuration, the data given, or a missing extra
    BLOCKED = 3  # the plan has blockers, or is not the plan that the upgrade began with
    HELD = 4  # the step waits for holds to end
    WRONG_PHASE = 5  # the step is not possible in this phase
    BUSY = 6  # another process runs the upgrade or has the store open
    STORAGE = 7  # the store or the journal failed, or the disk is full
    EMBEDDING = 8  # the embedder failed, or the source did
    NOT_VERIFIED = 9  # the verification found something wrong
    STOPPED = 10  # stopped before its end, as asked; the same command goes on


# Of an error's class and its bases the nearest one listed counts.
CODE_OF: dict[type[errors.HotfillError], ExitCode] = {
    errors.InputError: ExitCode.USAGE,
    errors.ModelMismatchError: ExitCode.USAGE,
    errors.ConfigError: ExitCode.USAGE,
    errors.MissingExtraError: ExitCode.USAGE,
    errors.PlanError: ExitCode.BLOCKED,
    errors.HeldError: ExitCode.HELD,
    errors.PhaseError: ExitCode.WRONG_PHASE,
    errors.StoreBusyError: ExitCode.BUSY,
    errors.UpgradeBusyError: ExitCode.BUSY,
    errors.StoreError: ExitCode.STORAGE,
    errors.JournalError: ExitCode.STORAGE,
    errors.EmbedError: ExitCode.EMBEDDING,
    errors.SourceError: ExitCode.EMBEDDING,
    errors.CallTimeoutError: ExitCode.EMBEDDING,
    errors.HotfillError: ExitCode.UNEXPECTED,
}


def exit_code(error: errors.HotfillError) -> ExitCode:
    """Return the code for an error."""
    return next(CODE_OF[kind] for kind in type(error).__mro__ if kind in CODE_OF)

"""What the tests start ends with them, however they end: also by SIGKILL, when nobody cleans up."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before the fork


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that starts it ends; on Linux only.

    Give it to `subprocess.Popen` as `preexec_fn`, in a thread that outlives the child.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

"""Replaces itself by one command that ends when its parent process ends.

Started by path with ``-I -S`` (about 15 ms), so it may import the standard library only. The kernel
sends SIGTERM when the *thread* that started this process ends; comparing the parent's id afterwards
catches a parent that died before the signal was requested.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ORPHANED = 125


def main(arguments: list[str]) -> None:
    """Replace this process by ``arguments[1:]``; ``arguments[0]`` is the parent's process id."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(_ORPHANED)
    os.execvp(command[0], command)  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    main(sys.argv[1:])

"""How much memory this process holds: what a model takes is the difference that its load makes.

From the C library's own books, as most of a model lies where Python's do not reach, and the
kernel's count of pages does not fall when memory is given back. What may go wrong: other requests
come and go meanwhile; they hold little, and not for long.
"""

import ctypes


class _Mallinfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def bytes_held() -> int:
    """What was allocated and not given back, in bytes: small pieces and large ones."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    held = mallinfo2()
    return int(held.uordblks + held.hblkhd)

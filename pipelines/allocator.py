"""How this process's allocator treats what is freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As in glibc's malloc.h."""
_NEVER = -1
_LARGE_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let glibc's malloc give freed memory to who asks next, not back to the kernel; another allocator stays as it is.

    A network on a CPU frees and asks for the same large blocks at each step. By itself malloc hands them back, and the
    kernel then clears every page anew as it is touched.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _NEVER)

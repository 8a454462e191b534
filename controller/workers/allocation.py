"""How this process's C library gives memory back: evidence comes in pieces of megabytes, and goes again.

glibc's own rules are made for speed. Each thread may have a heap of its own, eight a core, of which none gives back
what another could use. And once a large piece was freed, pieces of that size are taken from the heap as well, where
what is small and stays lies behind them and keeps them from being given back. Both are set here for good, unless
whoever runs the program has said otherwise by glibc's own means.
"""

from __future__ import annotations

import ctypes
import os

ARENAS = 2  # heaps of a process: the event loop's and one for all other threads
MMAP_BYTES = 256 * 1024  # pieces from this size on are mapped one by one, and given back as soon as they are freed
TRIM_BYTES = 1024 * 1024  # free at a heap's end before that is given back

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # <malloc.h>: mallopt(3)
_OWN_MEANS = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def economise() -> bool:
    """Set the rules, before there are threads. Whether that was done: it is not with another C library, nor where the
    environment has rules."""
    if any(name in os.environ for name in _OWN_MEANS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    rules = ((_M_ARENA_MAX, ARENAS), (_M_MMAP_THRESHOLD, MMAP_BYTES), (_M_TRIM_THRESHOLD, TRIM_BYTES))
    taken = [mallopt(rule, value) for rule, value in rules]
    return all(taken)

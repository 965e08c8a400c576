"""How many heaps glibc keeps: two, where it would keep eight for each core.

Each thread takes its memory from a heap of its own, an "arena", and none gives back what lies between pieces in use.
librdkafka's threads, some twenty, each have seldom much, but not at the same time: with 16 arenas, on two cores, the
mixed soak held 36 MB for the 20 in use after ten minutes, 16 of them free in places where others could not have them,
and went on growing; with two it stayed. Whoever sets the number himself, by `MALLOC_ARENA_MAX` or `GLIBC_TUNABLES`,
has it his way. Where the C library is another one, nothing is done.
"""

import ctypes
import os
from collections.abc import Mapping

ARENAS = 2  # the event loop's, and one more, which librdkafka's threads use as well
_M_ARENA_MAX = -8  # malloc.h


def limit_arenas(environment: Mapping[str, str] = os.environ) -> bool:
    """For threads that begin from now on; whether it was done."""
    if "MALLOC_ARENA_MAX" in environment or "glibc.malloc.arena_max" in environment.get("GLIBC_TUNABLES", ""):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_M_ARENA_MAX, ARENAS))

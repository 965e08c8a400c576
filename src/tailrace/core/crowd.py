"""How many connections each address has, and whether it may have one more. Pure."""

from collections import Counter


class Crowd:
    """most: for each address; None: any number. Keeps nothing of an address that has none."""

    __slots__ = ("_count", "_most")

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._count)

    def enter(self, address: str) -> bool:
        """Whether there was room for one more; it is then counted."""
        if self._most is None:
            return True
        if self._count[address] >= self._most:
            return False
        self._count[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One that has entered."""
        if self._most is None:
            return
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]

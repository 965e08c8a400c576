"""Text from outside, made safe to print: a log line or a fault stays one line, and a terminal is never driven by it.

Escaped as in Python source: C0 and C1 controls and DEL (terminal escape sequences, forged lines), the line and
paragraph separators, the bidirectional controls (CVE-2021-42574), and lone surrogates, which no encoder takes.
"""

import re
from typing import Final

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with every character that a terminal or a line-wise reader would act upon written as an escape."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")

"""`python autobahn.py URL [CASE...]`: Autobahn cases, 1 to 10 unless named, against an echo server; prints
{case: [behaviour, closing]}.

A program of its own, since kosoku runs on asyncio and threads, and the gateway under test on trio in the test.
"""

import asyncio
import json
import os
import sys

from kosoku import FailureError, run_fuzzingclient

SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10)  # the suite has no section 8; 11 does not exist, 12 and 13 are compression
AT_A_TIME = 4  # many of the cases mostly wait


async def verdicts(url: str, cases: list[str]) -> dict[str, list[str]]:
    try:
        results = await run_fuzzingclient(url, cases, concurrency=AT_A_TIME)
    except FailureError as failure:
        results = failure.results
    return {result.case_id: [result.behavior.value, result.behavior_close.value] for result in results}


if __name__ == "__main__":
    url, *cases = sys.argv[1:]
    print(json.dumps(asyncio.run(verdicts(url, cases or [f"{section}.*" for section in SECTIONS]))), flush=True)
    # Past the interpreter's own ending: kosoku's threads still run then, and abort the process about one time in ten.
    os._exit(0)

"""Prints, as the last line of a test run, how many tests passed, failed and were skipped.

Reads the JUnit files that pytest wrote. A run that tested nothing fails, and in CI (CI=true) a skip fails
too: what CI is meant to run must run. The one exception is a reason that names the machine's own system,
such as "not on Windows: no SIGHUP there".
"""

import os
import platform
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

SYSTEM = {"Darwin": "macOS"}.get(platform.system(), platform.system())


def main(files: list[str]) -> int:
    """Print the line for `files` and return the exit code."""
    verdicts: dict[tuple[str, str], set[str]] = defaultdict(set)
    unexpected = []
    for file in files:
        if not Path(file).is_file():
            continue  # pytest never started: nothing passed, which fails below
        for case in ET.parse(file).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
            name = (case.get("classname", ""), case.get("name", ""))
            verdicts[name] |= {child.tag for child in case} & {"failure", "error", "skipped"}
            reasons = [skip.get("message") or "" for skip in case.iter("skipped")]
            unexpected += [
                f"{'.'.join(name)}: {reason}"
                for reason in reasons
                if not reason.startswith(f"not on {SYSTEM}")
            ]

    failed = sum(bool(tags & {"failure", "error"}) for tags in verdicts.values())
    skipped = sum(tags == {"skipped"} for tags in verdicts.values())
    passed = len(verdicts) - failed - skipped
    skip_fails = bool(unexpected) and os.environ.get("CI") == "true"
    if skip_fails:
        print("skipped, and CI has to run everything:", *unexpected, sep="\n  ")
    if not verdicts:
        print("no test ran")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0 or passed == 0 or skip_fails)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

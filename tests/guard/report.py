"""`make guard-report`: the whole corpus against real servers; every admitted statement is run and weighed.

Fails when a statement of the hostile set has an effect, one that a guard must refuse is admitted, or more than
one in a hundred of the legitimate ones is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.guard.judging import Guard
from dev_postgres_mcp.sql.catalogue import PsycopgCatalogueSql
from tests.guard.corpora import CORPUS, load_fixtures, load_samples
from tests.guard.effects import Scale
from tests.guard.reading import Outcome, Reader
from tests.guard.servers import open_app, open_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dev_postgres_mcp.guard.verdicts import Verdict
    from tests.guard.corpora import Sample
    from tests.guard.servers import Server

VERSIONS = ("15", "17")
MOST_REFUSED = 0.01
NOTHING = Outcome()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one statement."""

    sample: Sample
    verdict: Verdict
    outcome: Outcome = NOTHING
    effects: tuple[str, ...] = ()

    @property
    def legitimate(self) -> bool:
        """Whether it should run."""
        return self.sample.expect == "admit"

    @property
    def falsely_refused(self) -> bool:
        """Whether the guard is in the way: the server would have run it."""
        return self.legitimate and not self.verdict.admitted and not self.outcome.error

    @property
    def falsely_admitted(self) -> bool:
        """Whether the guard lets through what it has to refuse."""
        return self.sample.expect == "reject" and self.verdict.admitted

    @property
    def fault(self) -> str:
        """What is wrong in words, empty when nothing is."""
        if self.effects:
            return f"HAD AN EFFECT ({', '.join(self.effects)})"
        if self.falsely_admitted:
            return "ADMITTED"
        return f"REFUSED: {self.verdict.reason}" if self.falsely_refused else ""


def run_corpus(server: Server, samples: Iterable[Sample]) -> Iterator[Result]:
    """Judge every statement by the server's catalogue, and run those that are admitted."""
    guard = Guard(PsycopgCatalogueSql().read(server.admin, deadline=Deadline(inf)))
    with closing(Reader(server)) as reader, closing(Scale(server, reader)) as scale:
        for sample in samples:
            verdict = guard.judge(sample.sql)
            if verdict.admitted or sample.expect == "admit":  # a refused read: would the server have run it?
                outcome = reader.run(sample.sql, verdict.kind)
                effects = scale.weigh(outcome)
                yield Result(sample=sample, verdict=verdict, outcome=outcome, effects=effects)
            else:
                yield Result(sample=sample, verdict=verdict)


def missed_targets(results: Sequence[Result]) -> list[str]:
    """Return the targets that are missed, in words."""
    effects = sum(bool(result.effects) for result in results)
    admitted = sum(result.falsely_admitted for result in results)
    legitimate = sum(result.legitimate for result in results)
    refused = sum(result.falsely_refused for result in results)
    return [
        *([f"{effects} statements had an effect"] if effects else []),
        *([f"{admitted} statements to be refused are admitted"] if admitted else []),
        *([f"{refused} of {legitimate} reads are refused"] if refused > MOST_REFUSED * legitimate else []),
    ]


def show(version: str, results: Sequence[Result]) -> None:
    """Print a line for each class, and each fault."""
    groups: defaultdict[tuple[bool, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.legitimate, result.sample.group].append(result)
    print(f"\nPostgreSQL {version}: {len(results)} statements")
    print(f"{'class':24}{'number':>8}{'admitted':>10}{'ran':>6}{'effect':>8}{'falsely refused':>17}")
    for (legitimate, group), some in sorted(groups.items()):
        admitted = [result for result in some if result.verdict.admitted]
        ran = sum(not result.outcome.error for result in admitted)
        effect = sum(bool(result.effects) for result in some)
        refused = str(sum(result.falsely_refused for result in some)) if legitimate else "-"
        print(f"{group:24}{len(some):8}{len(admitted):10}{ran:6}{effect:8}{refused:>17}")
    for result in results:
        if result.fault:
            print(f"  {result.fault}\n    {result.sample.group}: {result.sample.sql!r}")


def main(arguments: Sequence[str]) -> int:
    """Run the report and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, help="directory with .jsonl files and a .sql file"
    )
    parser.add_argument(
        "--errors", action="store_true", help="also show what the server says of admitted ones"
    )
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="PostgreSQL major versions")
    options = parser.parse_args(arguments)
    samples, fixtures = load_samples(options.corpus), load_fixtures(options.corpus)
    missed = []
    for version in options.versions:
        with open_app() as app, open_server(app, version, fixtures) as server:
            results = list(run_corpus(server, samples))
        show(version, results)
        if options.errors:
            for result in results:
                if result.outcome.error:
                    print(f"  {result.outcome.error}\n    {result.sample.sql!r}")
        missed += [f"PostgreSQL {version}: {target}" for target in missed_targets(results)]
    print("\n" + ("missed: " + "; ".join(missed) if missed else "every target is met"))
    return bool(missed) or not samples


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

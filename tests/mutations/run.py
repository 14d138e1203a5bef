"""Take protections out one at a time, each in a scratch copy of the tree, and run their tests.

::

    python -m tests.mutations.run [ID ...] [--jobs 2] [--json FILE] [--markdown FILE]

A mutant is *caught* when one of its tests fails, a *timeout* (caught, too) when they do not end,
*survived* when all pass and *broken* when the tests cannot be collected: then the mutant itself
is wrong. Results are added to those that the JSON file already has, so single mutants can be run
again. The checkout is never changed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from tests.mutations.mutant import ROOT, Mutant, read_mutants

_PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "nd-data", "site"
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)
_TAIL_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant.

    Attributes
    ----------
    outcome
        ``caught``, ``timeout``, ``survived`` or ``broken``.
    by
        The first test that failed, or the end of the output where none is named.
    ran
        ``its tests`` or ``whole suite``.
    """

    id: str
    takes_out: str
    file: str
    outcome: str
    by: str
    seconds: float
    ran: str


class Runner:
    """Runs tests in scratch copies of the tree, one for each job.

    Parameters
    ----------
    folder
        Where the copies go.
    jobs
        How many tests run at a time.
    timeout_s
        After so long the tests of a mutant are taken for hanging.
    """

    def __init__(self, folder: Path, jobs: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._trees: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            tree = folder / f"tree{job}"
            shutil.copytree(ROOT, tree, ignore=_LEFT_OUT, symlinks=True)
            self._trees.put(tree)

    def run(self, mutant: Mutant, tests: Sequence[str], ran: str) -> Result:
        """Run tests on the tree without the mutant's protection."""
        tree = self._trees.get()
        path = tree / mutant.file
        whole = path.read_bytes()
        started_at = time.monotonic()
        try:
            _write(path, mutant.mutated(tree).encode())
            outcome, by = self._pytest(tree, tests)
        finally:
            _write(path, whole)
            self._trees.put(tree)
        seconds = round(time.monotonic() - started_at, 1)
        return Result(mutant.id, mutant.takes_out, mutant.file, outcome, by, seconds, ran)

    def run_unchanged(self, tests: Sequence[str]) -> tuple[str, str]:
        """Run tests on the tree as it is; return the outcome and the first test that failed."""
        tree = self._trees.get()
        try:
            return self._pytest(tree, tests)
        finally:
            self._trees.put(tree)

    def _pytest(self, tree: Path, tests: Sequence[str]) -> tuple[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        # Modules compiled once a tree: _write removes what a mutant would leave.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with subprocess.Popen(
            [*_PYTEST, *tests],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                return "timeout", f"nothing within {self._timeout_s:g} s"
            finally:
                _end(process)
        if process.returncode == 0:
            return "survived", ""
        # Without a protection of memory the process itself may die.
        outcome = "caught" if process.returncode == 1 or process.returncode < 0 else "broken"
        failed = _FAILED.search(output)
        return outcome, failed[1] if failed else output[-_TAIL_CHARS:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a mutant survived or is broken."""
    options = _options(arguments)
    mutants = read_mutants()
    by_id = {mutant.id: mutant for mutant in mutants}
    if unknown := set(options.ids) - by_id.keys():
        print(f"There is no mutant {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    wanted = [by_id[each] for each in options.ids] or list(mutants)
    results = _read(options.json)
    ours: list[Result] = []
    writing = Lock()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        runner = Runner(Path(folder), options.jobs, options.timeout_s)
        if options.unchanged_first:
            tests = sorted({test for mutant in wanted for test in mutant.tests})
            outcome, by = runner.run_unchanged(tests)
            if outcome != "survived":
                print(f"The tests fail on the unchanged tree: {by}", file=sys.stderr)
                return 2

        def run(mutant: Mutant) -> None:
            result = runner.run(mutant, mutant.tests, "its tests")
            if result.outcome == "survived" and options.whole_suite_for_survivors:
                result = runner.run(mutant, ["tests"], "whole suite")
            with writing:
                ours.append(result)
                results[result.id] = result
                print(f"{result.outcome:9}{result.seconds:7.1f} s  {result.id}  {result.by[-150:]}")
                sys.stdout.flush()
                _save(mutants, results, options)

        with ThreadPoolExecutor(options.jobs) as pool:
            for _ in pool.map(run, wanted):
                pass
    print(_totals(ours))
    return int(any(result.outcome in {"survived", "broken"} for result in ours))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.run", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these mutants")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--timeout-s", type=float, default=300.0, help="for the tests of a mutant")
    parser.add_argument("--json", type=Path, help="add the results to this file")
    parser.add_argument("--markdown", type=Path, help="write all results as a table")
    parser.add_argument(
        "--unchanged-first", action="store_true", help="see first that the tests pass without one"
    )
    parser.add_argument(
        "--whole-suite-for-survivors",
        action="store_true",
        help="run all tests on what its own do not catch (raise --timeout-s)",
    )
    return parser.parse_args(arguments)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    # A compiled module is known by time and size of its source, which two mutants may share.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill what is left of a test run, servers that it started included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read(path: Path | None) -> dict[str, Result]:
    if path is None or not path.exists():
        return {}
    results = [Result(**entry) for entry in json.loads(path.read_text())["results"]]
    return {result.id: result for result in results}


def _save(
    mutants: Sequence[Mutant], results: Mapping[str, Result], options: argparse.Namespace
) -> None:
    listed = [results[mutant.id] for mutant in mutants if mutant.id in results]
    if options.json:
        document = {"results": [asdict(result) for result in listed]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        lines = [
            _totals(listed),
            "",
            "| mutant | takes out | outcome | by | seconds |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {result.id} | {result.takes_out} | {result.outcome} | {_cell(result.by)} "
            f"| {result.seconds:.1f} |"
            for result in listed
        ]
        options.markdown.write_text("\n".join(lines) + "\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[-150:]


def _totals(results: Sequence[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in sorted(counts)]
    return f"{len(results)} mutants: {', '.join(parts)}."


if __name__ == "__main__":
    sys.exit(main())

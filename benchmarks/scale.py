"""Simulation at scale: what the stores are asked for where there is much of everything.

Each scenario is filled at three sizes, on stores in memory that count requests and model how
long they would take (``benchmarks.scale_model``; nothing sleeps), and its steps are measured: what
should be flat must not grow. Then keys are read in Morton order and in the order of jobs from a
store that answers 503 until its partitions have split. Run ``python -m benchmarks.scale``;
``--full`` takes the full sizes, ``--disk`` files and SQLite with 10^4 of each; the results of these
go to ``benchmarks/results/``.
"""

import argparse
import json
import math
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import scale_petabyte
from benchmarks.scale_model import Step
from benchmarks.scale_world import SCENARIOS, World
from ndlambda import runtime
from ndlambda.settings import Settings
from ndlambda.space.shuffle import shuffled
from ndlambda.stores.ports import Overwrite, Ports
from ndlambda.testing.memory import MemoryObjectStore, MemoryQueue, MemoryTable
from ndlambda.testing.partitions import PartitionedStore, seconds_to_read

DEFAULT_SIZE = 10**4
PARTITION_RATE = 5500
"""GETs a second of one partition of S3."""
PATIENCE_S = 30
PRESSURE = 8
"""How many times that the visitors ask for."""

Open = Callable[[], Any]


@contextmanager
def in_memory() -> Iterator[Ports]:
    """Yield new stores in memory."""
    objects = MemoryObjectStore()
    yield Ports(objects, objects, MemoryTable(), cache(lambda _: MemoryQueue()))


@contextmanager
def on_disk() -> Iterator[Ports]:
    """Yield new stores on files and SQLite."""
    with TemporaryDirectory() as folder:
        ports = runtime.open_ports(Settings(data=Path(folder), fsync=False))
        yield Ports(ports.objects, ports.dropped, ports.table, cache(ports.open_queue))


def measure(name: str, sizes: list[int], opened: Open) -> list[Step]:
    """Return the steps of a scenario at some sizes."""
    steps: list[Step] = []
    for size in sizes:
        print(f"{name}, {size}", flush=True)
        with opened() as ports:
            world = World(ports, name, size)
            SCENARIOS[name][0](world)
            world.runtime.close()
        steps += world.steps
    return steps


def measure_orders(count: int) -> list[dict[str, Any]]:
    """Read supercuboids of one prefix in two orders from a store that splits slowly."""
    objects = MemoryObjectStore()
    keys = [f"p/c/u/0/0/{code:016x}" for code in range(count)]
    for key in keys:
        objects.put(key, b"x", Overwrite())
    rows = []
    for order, numbers in (("Morton order", range(count)), ("shuffled", shuffled(range(count)))):
        rate = PARTITION_RATE * count // 10**6
        store = PartitionedStore(objects, per_second=rate, patience_s=PATIENCE_S)
        seconds = seconds_to_read(store, (keys[number] for number in numbers), PRESSURE * rate)
        rows.append(
            {
                "order": order,
                "keys": count,
                "seconds": seconds,
                "throttled": store.throttled,
                "partitions": store.partitions,
            }
        )
    return rows


# --- pages ---------------------------------------------------------------------------------


def step_lines(steps: list[Step]) -> list[str]:
    """Return a table: a row for each step, with its requests at all sizes."""
    lines = [
        (
            "| step | requests | grows as | at the last size | MB moved | seconds, one by one "
            "| seconds | CPU s | MB of memory | dollars |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_name: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        by_name.setdefault((step.scenario, step.name), []).append(step)
    titled = ""
    for (scenario, name), same in by_name.items():
        if scenario != titled:
            sizes = (
                ", ".join(f"{step.size:,}" for step in same).replace(",", " ").replace("  ", ", ")
            )
            lines.append(f"| **{scenario}**: {sizes} | | | | | | | | | |")
            titled = scenario
        last = same[-1]
        verbs = ", ".join(
            f"{count} {verb}" for verb, count in last.calls.most_common() if count
        ).replace("objects.", "S3 ")
        lines.append(
            f"| {name} | {' · '.join(str(step.requests) for step in same)} | {growth(same)} "
            f"| {verbs.replace('table.', '').replace('queue.', 'message ')} "
            f"| {last.sizes.total() / 1e6:.2f} | {last.serial_s:.2f} | {last.modelled_s:.2f} "
            f"| {last.cpu_s:.2f} | {last.peak_bytes / 2**20:.0f} | {last.dollars:.2g} |"
        )
    return [*lines, ""]


def growth(same: list[Step]) -> str:
    """Return how the requests of a step grow with the size n: flat, or a power of it."""
    first, last = same[0], same[-1]
    if first.size == last.size:
        return ""
    power = math.log(last.requests / first.requests) / math.log(last.size / first.size)
    return "flat" if power < 0.05 else f"n^{power:.2f}"


def order_lines(orders: list[dict[str, Any]]) -> list[str]:
    """Return a table about the orders."""
    return [
        (
            f"{orders[0]['keys']} objects of one prefix, read by {PRESSURE} times as many visitors "
            f"as one partition serves; a partition is split after {PATIENCE_S} seconds of 503."
        ),
        "",
        "| order | seconds | answers of 503 | partitions at the end |",
        "|---|---|---|---|",
        *(
            f"| {row['order']} | {row['seconds']} | {row['throttled']} | {row['partitions']} |"
            for row in orders
        ),
        "",
    ]


def markdown(steps: list[Step], orders: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Return the results as a Markdown page."""
    lines = [
        f"# Simulation at scale, {facts['stores']}",
        "",
        (
            f"{facts['date']}, {facts['cpus']} CPUs, Python {facts['python']}, "
            f"{facts['threads']} threads a process. Requests at each size, all other figures at "
            "the last. Seconds are modelled from the delays of `benchmarks/scale_model.py`: one "
            "request after the other, and with the threads. CPU seconds and memory (by which the "
            "process grew) are measured, with what the stores in it take."
        ),
        "",
        *step_lines(steps),
        *(order_lines(orders) if orders else []),
        *(scale_petabyte.lines(steps) if facts["stores"] == "in memory" else []),
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="full sizes")
    parser.add_argument("--disk", action="store_true", help="10^4 of each, on files and SQLite")
    parser.add_argument("--processes", type=int, default=1, help="scenarios at once")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="a scenario")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.full &= not options.disk

    def sizes_of(full: int) -> list[int]:
        largest = full if options.full else DEFAULT_SIZE
        return [largest] if options.disk else [largest // 100, largest // 10, largest]

    names = options.only or list(SCENARIOS)
    opened = on_disk if options.disk else in_memory
    with ProcessPoolExecutor(options.processes, max_tasks_per_child=1) as pool:
        measuring = [
            pool.submit(measure, name, sizes_of(SCENARIOS[name][1]), opened) for name in names
        ]
        steps = [step for found in measuring for step in found.result()]
    whole = not options.disk and not options.only
    orders = measure_orders(10**6 if options.full else 10**5) if whole else []
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "threads": Settings().threads,
        "stores": "on disk" if options.disk else "in memory",
    }
    page = markdown(steps, orders, facts)
    name = "scale_disk" if options.disk else "scale"
    rows = [{**vars(step), "requests": step.requests, "dollars": step.dollars} for step in steps]
    if (options.full or options.disk) and not options.only:
        options.output.mkdir(parents=True, exist_ok=True)
        document = {**facts, "rows": rows, "orders": orders}
        (options.output / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
        (options.output / f"{name}.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()

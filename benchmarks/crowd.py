"""The laptop server under a crowd: 2 000 idle connections, 600 slow ones and 100 busy clients.

Half of the idle connections trickle their headers; slow clients send or read 16 KiB a second. A new
connection asks for ``/healthz`` and another for a small cutout, four times a second. Then ten
cutouts of 1 GiB wait for memory while both go on. That each was answered is asserted; times and
memory are printed and written down.
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ndlambda.local.host.limits import Limits
from ndlambda.local.synthetic import em_stack
from tests.support.crowd import Asked, CrowdSize, Target, run_crowd
from tests.support.server import Server, serving

CUTOUT = "/v1/projects/t/channels/em/cutout?x=0:{0}&y=0:{0}&z=0:{1}"
SMALL, LARGE, UPLOAD = (CUTOUT.format(*size) for size in ((64, 16), (512, 16), (512, 4)))
HUGE = "/v1/projects/t/channels/wide/cutout?x=0:2048&y=0:2048&z=0:64"
HUGE_COUNT, HUGE_BYTES = 10, (2048 * 2048 * 64 * 4) + 128


def make_target(server: Server) -> Target:
    """Make a volume and return what is asked of it."""
    client = server.client()
    client.datasets.create("ds", ximagesize=2048, yimagesize=2048, zimagesize=64)
    client.projects("ds").create("pr", public=0)
    for name, dtype in (("em", "uint8"), ("wide", "uint32")):
        client.channels("ds", "pr").create(name, channel_type="image", channel_datatype=dtype)
    client.tokens("ds", "pr").create("t", public=0)
    voxels = em_stack((16, 512, 512))
    client.volume("t", "em")[0:16, 0:512, 0:512] = voxels
    body = BytesIO()
    np.save(body, voxels[:4])
    return Target(server.port, server.key, SMALL, LARGE, UPLOAD, body.getvalue())


def status_mb(server: Server, field: str) -> float:
    """Return a figure of the server's process in MB (Linux)."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6


def cpu_s(server: Server) -> float:
    """Return the CPU seconds of the server so far (Linux)."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_huge(target: Target) -> int:
    """Read a cutout of 1 GiB, again as long as the server is busy, and return how often."""
    for attempt in range(1000):
        with closing(HTTPConnection("127.0.0.1", target.port, timeout=600)) as connection:
            connection.request("GET", HUGE, headers={"Authorization": f"Token {target.key}"})
            answer = connection.getresponse()
            size = 0
            while piece := answer.read(1 << 20):
                size += len(piece)
        if answer.status == 200:
            assert size == HUGE_BYTES, size
            return attempt + 1
        assert answer.status == 503, answer.status
        time.sleep(int(answer.headers["Retry-After"]))
    raise AssertionError("the server was busy for ever")


def check(asked: dict[str, Asked]) -> None:
    """Assert that all were answered who are not part of the crowd, and the busy ones too."""
    for name in ("health", "honest", "busy"):
        assert set(asked[name].statuses) <= {200}, (name, asked[name].statuses)


def row_of(case: str, asked: Asked) -> dict:
    """Return one row of the results."""
    times = {f"p{part}_ms": round(asked.quantile(part / 100) * 1e3, 1) for part in (50, 99)}
    return {"case": case, "answers": sum(asked.statuses.values()), **times}


def measure(size: CrowdSize, rounds: int) -> tuple[list[dict], dict]:
    """Run the crowd, then the cutouts, and return rows and facts."""
    with TemporaryDirectory() as folder, serving(Path(folder) / "nd") as server:
        target = make_target(server)
        begun_mb = status_mb(server, "VmRSS")
        calm = run_crowd(target, CrowdSize(0, 0, 0, 0), rounds // 4)
        before_s, before = cpu_s(server), time.perf_counter()
        crowded = run_crowd(target, size, rounds)
        busy_s, crowd_s = cpu_s(server) - before_s, time.perf_counter() - before
        crowd_mb = status_mb(server, "VmHWM")
        with ThreadPoolExecutor(HUGE_COUNT) as pool:
            huge = [pool.submit(read_huge, target) for _ in range(HUGE_COUNT)]
            waiting = run_crowd(target, CrowdSize(0, 0, 0, 0), rounds // 4)
            attempts = [each.result() for each in huge]
        for asked in (calm, crowded, waiting):
            check(asked)
        rows = [
            row_of(f"{name}, {when}", asked[name])
            for when, asked in (("alone", calm), ("crowd", crowded), ("10 x 1 GiB", waiting))
            for name in ("health", "honest", "busy")
            if asked[name].times_s
        ]
        facts = {
            "crowd": f"{size.idle} idle, {size.slow_readers} slow readers, "
            f"{size.slow_writers} slow writers, {size.busy} busy",
            "crowd_s": round(crowd_s),
            "crowd_cpu_s": round(busy_s, 1),
            "memory_mb": {
                "at the start": round(begun_mb),
                "most in the crowd": round(crowd_mb),
                "most with 10 x 1 GiB": round(status_mb(server, "VmHWM")),
            },
            "attempts_of_1_gib": attempts,
        }
        return rows, facts


def markdown(rows: list[dict], facts: dict) -> str:
    """Return the results as a Markdown page."""
    memory = ", ".join(f"{name} {value} MB" for name, value in facts["memory_mb"].items())
    return "\n".join(
        [
            "# A crowd of clients",
            "",
            (
                f"{facts['date']}, {facts['cpus']} CPUs, Python {facts['python']}, client and "
                f"server on one machine, load average {facts['load']}. {facts['crowd']}, for "
                f"{facts['crowd_s']} s, in which the server took {facts['crowd_cpu_s']} s of CPU. "
                f"All were answered with 200. Memory of the server: {memory}."
            ),
            "",
            "| who asks, when | answers | p50 ms | p99 ms |",
            "|---|---|---|---|",
            *(
                f"| {row['case']} | {row['answers']} | {row['p50_ms']} | {row['p99_ms']} |"
                for row in rows
            ),
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=160, help="probes, four a second at most")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    size = CrowdSize()
    Limits(max_connections=size.files).within_file_limit()
    rows, facts = measure(size, options.rounds)
    facts |= {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of the whole machine, including this benchmark
        "python": platform.python_version(),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "crowd.json").write_text(
        json.dumps({**facts, "cases": rows}, indent=2) + "\n"
    )
    (options.output / "crowd.md").write_text(markdown(rows, facts))
    print(markdown(rows, facts))


if __name__ == "__main__":
    main()

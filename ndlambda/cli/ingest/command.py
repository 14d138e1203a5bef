"""``ndlambda ingest``: ingests a stack as a job that survives interruptions, and manages jobs."""

import time
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from ingest_queue.sources import Source
from ingest_queue.sources.fitted import FittedSource
from ingest_queue.sources.slices import SliceSource
from ndlambda.cli import params
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.data.creation import StackTarget, creating, tell_voxelres
from ndlambda.cli.data.stack_options import (
    check_creation,
    open_and_tell,
    reading_options,
    source_options,
    target_of,
    target_options,
)
from ndlambda.cli.data.upload import StackUpload, fit_source
from ndlambda.cli.ingest.compare import compare_digests, compare_source
from ndlambda.cli.ingest.files import send_files
from ndlambda.cli.ingest.job import JobOptions, find_or_create_job, grid_of
from ndlambda.cli.ingest.plan import print_plan
from ndlambda.cli.ingest.slabs import Memory
from ndlambda.cli.ingest.transfer import Sent, Transfer
from ndlambda.cli.interrupts import Outage, interruptible_sleep
from ndlambda.cli.output import json_option, print_json, print_table
from ndlambda.cli.params import limit_option
from ndlambda.client import Client, RetryPolicy
from ndlambda.client.ingest import COMPLETE, UNDER_WAY, Document
from ndlambda.errors import (
    AuthenticationError,
    DataTypeMismatchError,
    InvalidArgumentError,
    OutOfBoundsError,
    UpstreamError,
)

_MB: Final = 1_000_000
_PATIENT_RETRY: Final = RetryPolicy(attempts=14)
"""About three minutes, so that a restarting server does not end an ingest of hours."""
_ONCE: Final = RetryPolicy(attempts=1)
_MAX_SHOWN: Final = 50
_NO_JOBS: Final = (
    "none. Files copied into the drop folder are looked at a second or two after the last of them "
    "is complete; list again then."
)


class _StartByDefault(click.Group):
    """A group whose first argument may be a source instead of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``start`` before a source; what is none, but nearly a command, is refused."""
        at = next((n for n, word in enumerate(args) if word != "--debug"), None)
        first = None if at is None else args[at]
        if first is not None and first not in {*self.commands, "-h", "--help"}:
            if get_close_matches(first, self.commands) and not Path(first).exists():
                raise click.NoSuchCommand(first, possibilities=self.commands, ctx=ctx)
            args = [*args[:at], "start", *args[at:]]
        return super().parse_args(ctx, args)


@click.group(cls=_StartByDefault)
def ingest() -> None:
    """Ingest a stack, and manage ingest jobs.

    `ndlambda ingest SOURCE ...` is short for `ndlambda ingest start SOURCE ...`.

    \b
    Examples:
      ndlambda ingest slices/ demo/em --create --plan
      ndlambda ingest slices/ demo/em --create --propagate --verify
      ndlambda ingest status 0123456789abcdef
      ndlambda ingest verify 0123456789abcdef
    """


@ingest.command()
@click.argument("source")
@target_options
@click.option(
    "--on-bad",
    type=click.Choice(["fail", "zero", "skip"]),
    default="fail",
    show_default=True,
    help="For unreadable parts: fail, store zeros, or skip them.",
)
@click.option(
    "--raw-slices",
    is_flag=True,
    help="Send slices as files; the server decodes them.",
)
@click.option("--propagate", is_flag=True, help="Build the coarser resolutions at the end.")
@click.option("--verify", is_flag=True, help="At the end compare the stored data with the source.")
@click.option("--plan", is_flag=True, help="Show what the ingest takes, and send nothing.")
@click.option("--again", is_flag=True, help="Ingest again even if the source was ingested already.")
@click.option(
    "--job",
    "job_id",
    type=params.read_job,
    metavar="JOB",
    help="Continue this job although the source has changed since; faulty parts are sent again.",
)
@click.option("--no-wait", is_flag=True, help="End when all is sent, before it is stored.")
@source_options
@click.option(
    "--memory-mb",
    default=1000,
    show_default=True,
    type=click.IntRange(min=16),
    help="Megabytes to hold at once; larger slabs go into a temporary file.",
)
@click.option(
    "--uplink-mbit",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="With --plan: network speed.",
)
@pass_connection
def start(connection: ServerOptions, /, source: str, *, create: bool, **options: Any) -> None:
    """Ingest a stack: any source that `ndlambda put` reads.

    The stack is cut into chunks of whole storage units, which are compressed and sent in parallel.
    After Ctrl-C, a crash or a lost network run the same command again: the server knows which
    chunks have arrived, and none is sent twice. Data damaged in transit is never stored, and
    --verify reads everything again on both sides.
    """
    check_creation(options, create=create)
    run_options = {name: options.pop(name) for name in _RUN_OPTIONS}
    keep_going = run_options["on_bad"] != "fail"
    reading = replace(reading_options(options), defer_faults=keep_going)
    opened = open_and_tell(source, reading)
    target = target_of(options)
    files = _files_of(opened) if run_options["raw_slices"] else None
    if run_options["plan"]:
        print_plan(opened, target, run_options["uplink_mbit"], files)
        return
    connection.client(_ONCE).healthz()  # a server that was never there is not waited for
    job = None
    try:
        with interruptible_sleep() as sleep:
            on_retry = Outage(_PATIENT_RETRY.longest_s)
            client = connection.client(replace(_PATIENT_RETRY, sleep=sleep, on_retry=on_retry))
            with creating(client, opened, target, create=create) as is_new:
                upload = _place(client, opened, replace(target, labels=is_new or target.labels))
                job = _find_job(
                    client,
                    source,
                    upload,
                    run_options | {"reading": reading, "labels": target.labels},
                )
                _run(_transfer(client, upload, job, run_options), run_options)
    except (AuthenticationError, UpstreamError):
        if job is not None:
            click.echo("What was sent is kept; run the same command again to continue.", err=True)
        raise
    except KeyboardInterrupt:
        click.echo("Interrupted; run the same command again to continue.", err=True)
        raise


_RUN_OPTIONS: Final = (
    *("on_bad", "raw_slices", "propagate", "verify", "plan", "again", "job_id", "no_wait"),
    *("memory_mb", "uplink_mbit"),
)


def _find_job(
    client: Client, source: str, upload: StackUpload, run_options: dict[str, Any]
) -> Document:
    """Return the job that was named, ready for repair, or the job of the source."""
    if run_options["job_id"]:
        job = client.ingest.get(run_options["job_id"])
        _check_extent(job, upload)
        return _prepare_repair(client, job)
    mode = "slices" if run_options["raw_slices"] else "chunks"
    names = ("on_bad", "propagate", "again", "labels", "reading")
    given = {name: run_options[name] for name in names}
    options = JobOptions(**given, mode=mode)
    return find_or_create_job(client, source, upload, options)


def _transfer(
    client: Client, upload: StackUpload, job: Document, run_options: dict[str, Any]
) -> Transfer:
    return Transfer(
        client,
        upload,
        job,
        grid_of(job, upload.volume.box.start_xyz),
        Memory(run_options["memory_mb"] * _MB),
        keep_going=job["on_bad"] != "fail",
        repairs=bool(run_options["job_id"]),
    )


def _files_of(source: Source) -> SliceSource:
    """Return a source that must be a folder of slices.

    Raises
    ------
    InvalidArgumentError
        It is something else.
    """
    if isinstance(source, FittedSource):  # the server converts
        source = source.source
    if not isinstance(source, SliceSource):
        raise InvalidArgumentError("Only a folder of slices can be sent as files.")
    return source


def _prepare_repair(client: Client, job: Document) -> Document:
    """Return a job that was named, in a state in which its faulty parts can be sent again."""
    faults = client.ingest.errors(job["id"]) if job["mode"] == "chunks" else ()
    if job["state"] != "COMPLETE" and any(fault["part"] is not None for fault in faults):
        return client.ingest.retry(job["id"])
    return job


def _send(transfer: Transfer) -> Sent:
    if transfer.job["state"] not in UNDER_WAY and not (transfer.repairs and _has_faults(transfer)):
        return Sent()
    if transfer.job["mode"] == "slices":
        return send_files(transfer, _files_of(transfer.upload.source))
    return transfer.send_boxes()


def _has_faults(transfer: Transfer) -> bool:
    return transfer.job["state"] in {"FAILED", "COMPLETE_WITH_ERRORS"}


def _run(transfer: Transfer, run_options: dict[str, Any]) -> None:
    """Send, wait, verify, and print the result."""
    job_id, started = transfer.job_id, time.perf_counter()
    click.echo(f"ingest job {job_id}", err=True)
    sent = _send(transfer)
    for text in sent.unreadable[:_MAX_SHOWN]:
        click.echo(f"ndlambda: {text}", err=True)
    line = f"{job_id}: {_sent(transfer.job, sent, time.perf_counter() - started)}"
    if run_options["no_wait"]:
        click.echo(line)
        return
    job = transfer.wait()
    line = f"{job_id}: {_sent(job, sent, time.perf_counter() - started)}"
    click.echo(f"{line}; {_summary(job)}")
    if job["state"] not in COMPLETE:
        if job["state"] == "FAILED":
            click.echo(f"Fix the cause, and run the command again with --job {job_id}.", err=True)
        click.get_current_context().exit(1)
    if run_options["verify"]:
        _print_differences(job, compare_source(transfer))


@ingest.command()
@click.argument("job_id", metavar="JOB", type=params.read_job)
@json_option
@pass_connection
def status(connection: ServerOptions, job_id: str, *, as_json: bool) -> None:
    """Show the progress of a job."""
    job = connection.client().ingest.get(job_id)
    if as_json:
        print_json(job)
        return
    click.echo(f"{job_id}: {_summary(job)}")
    for note in job.get("notes", ()):
        click.echo(note)


@ingest.command("list")
@limit_option
@json_option
@pass_connection
def list_jobs(connection: ServerOptions, *, limit: int | None, as_json: bool) -> None:
    """List your jobs (newest first), dropped folders without one, those of deleted channels."""
    ingests = connection.client().ingest
    jobs = ingests.list(limit)
    if as_json:
        print_json(jobs)
        return
    columns = ("token", "channel", "resolution")
    rows = [[job["id"], *(job[name] for name in columns), _summary(job)] for job in jobs]
    if rows:
        print_table(["job", *columns, "state"], rows)
    waiting = [[each["folder"], each["why"]] for each in ingests.waiting()]
    if waiting:
        print_table(["folder without a job", "why"], waiting)
    deleted = [[each["folder"], each["where"]] for each in ingests.deleted()]
    if deleted:
        print_table(["folder of a deleted channel", "set aside in"], deleted)
    if not (rows or waiting or deleted):
        click.echo(_NO_JOBS)


@ingest.command()
@click.argument("job_id", metavar="JOB", type=params.read_job)
@pass_connection
def cancel(connection: ServerOptions, job_id: str) -> None:
    """Cancel a job; what is stored stays."""
    connection.client().ingest.cancel(job_id)
    click.echo(f"{job_id}: CANCELLED")


@ingest.command()
@click.argument("job_id", metavar="JOB", type=params.read_job)
@pass_connection
def retry(connection: ServerOptions, job_id: str) -> None:
    """Resume a failed job once the cause is fixed."""
    click.echo(f"{job_id}: {_summary(connection.client().ingest.retry(job_id))}")


@ingest.command()
@click.argument("job_id", metavar="JOB", type=params.read_job)
@json_option
@pass_connection
def errors(connection: ServerOptions, job_id: str, *, as_json: bool) -> None:
    """Show the unusable parts of a job's input, and why."""
    found = connection.client().ingest.errors(job_id)
    if as_json:
        print_json(found)
        return
    columns = ("chunk", "t", "part", "key", "error")
    rows = [["" if fault[name] is None else fault[name] for name in columns] for fault in found]
    print_table(columns, rows)


@ingest.command()
@click.argument("job_id", metavar="JOB", type=params.read_job)
@json_option
@pass_connection
def verify(connection: ServerOptions, job_id: str, *, as_json: bool) -> None:
    """Read a complete job's voxels again and compare them with its digests.

    Lists every storage unit that differs from what the job stored. Exit code 1 if there is one.
    """
    client = connection.client()
    job = client.ingest.get(job_id)
    if not as_json:
        _print_differences(job, compare_digests(client, job))
        return
    found = list(compare_digests(client, job))
    print_json({"job": job_id, "digest": job["digest"], "differences": found})
    click.get_current_context().exit(1 if found else 0)


def _place(client: Client, source: Source, target: StackTarget) -> StackUpload:
    volume = client.volume(target.token, target.channel, target.resolution)
    tell_voxelres(source, volume, target)
    source = fit_source(source, volume, cast=target.cast, labels_said=target.labels)
    start_time = volume.times[0] if target.start_time is None else target.start_time
    return StackUpload(source, volume, target.corner_xyz or volume.box.start_xyz, start_time, 0)


def _check_extent(job: Document, upload: StackUpload) -> None:
    """Check that a job that was named belongs to this channel and has the size of the source."""
    volume, extent = upload.volume, job["extent"]
    target = volume.token, volume.channel, volume.resolution
    if (job["token"], job["channel"], job["resolution"]) != target:
        raise DataTypeMismatchError(
            f"Ingest job {job['id']} fills {job['token']}/{job['channel']}, resolution "
            f"{job['resolution']}."
        )
    corner = tuple(extent[axis][0] for axis in "xyz")
    shape = tuple(extent[axis][1] - extent[axis][0] for axis in "xyz")
    times = upload.start_time, upload.start_time + upload.source.shape_tzyx[0]
    if (corner, shape) != (upload.corner_xyz, upload.box.shape_xyz) or tuple(extent["t"]) != times:
        raise OutOfBoundsError(f"Ingest job {job['id']} is for {extent}, not for the data here.")


def _print_differences(job: Document, differences: Iterable[Document]) -> None:
    """Print differences, and exit with code 1 if there are any."""
    found = iter(differences)
    shown = list(islice(found, _MAX_SHOWN))
    if not shown:
        click.echo(f"{job['id']}: verified, digest {job['digest']}")
        return
    rows = [
        [each["link"], each["chunk"], each["time"], _box_text(each["box"]), each["reason"]]
        for each in shown
    ]
    print_table(["what", "chunk", "time", "box", "reason"], rows)
    more = sum(1 for _ in found)
    click.echo(f"{job['id']}: {len(shown) + more} differences" + (f", {more} more" if more else ""))
    click.get_current_context().exit(1)


def _box_text(box: Document) -> str:
    return ",".join(f"{box[axis][0]}:{box[axis][1]}" for axis in "xyz")


def _sent(job: Document, sent: Sent, seconds: float) -> str:
    megabytes, uploaded = sent.voxel_bytes / _MB, sent.upload_bytes / _MB
    others = f", {sent.sent_by_others} by others meanwhile" if sent.sent_by_others else ""
    return (
        f"{sent.parts} {job['mode']} sent{others}, {megabytes:.1f} MB as {uploaded:.1f} MB "
        f"in {seconds:.1f} s, {megabytes / max(seconds, 1e-9):.1f} MB/s"
    )


def _summary(job: Document) -> str:
    text = str(job["state"])
    if "chunks" in job:
        text += f", {job['chunks']['done']} of {job['chunks']['total']} chunks stored"
    else:
        text += "; its channel was deleted since, and the job will be, too"
    missing = job.get("first_missing")
    if missing and job["state"] in UNDER_WAY:
        what = "slice" if "slice" in missing else "chunk"
        count = job["parts"]["expected"] - job["parts"]["seen"]
        text += f", {count} {what}s missing from {what} {missing[what]} on"
    if job.get("faults"):
        text += f", errors: {job['faults']} (see `ndlambda ingest errors {job['id']}`)"
    return f"{text}: {job['reason']}" if job["reason"] else text

"""A data folder with dropped files, and the services that one process after another makes of it."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from functions import erase, ingest_build, s3_drop
from ingest_queue.jobs.keys import DONE, UPLOADS
from ndlambda import runtime
from ndlambda.errors import AlreadyExistsError
from ndlambda.local.drop_folder import DropFolder
from ndlambda.local.pump import pump_once
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region
from ndlambda.settings import Settings
from ndlambda.stores.disk import DroppedFiles
from ndlambda.stores.disk.dropped import REST_S
from ndlambda.stores.ports import Row
from ndlambda.stores.process import Ports
from tests.support.catalog_world import Clock
from tests.support.faults import FaultPlan, Faulty
from tests.support.ingest_world import look_after_all, look_after_folders, png

DEPTH = 6
MANIFEST = {
    "dataset": {"ximagesize": 20, "yimagesize": 14, "zimagesize": DEPTH},
    "channel": {"channel_type": "image", "channel_datatype": "uint8"},
}
BRAIN = "drop/brain/em/"


class Laptop:
    """A data folder, and the services of the process that serves it now."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.settings = Settings(data=data, fsync=False, threads=2, cache_s=0)
        self.clock = Clock()
        self.start()
        self.admin, self.bob = (
            self.runtime.users.create_user(name, superuser=name == "admin")[0].id
            for name in ("admin", "bob")
        )

    def start(self, plan: FaultPlan | None = None) -> None:
        """Start a process, which dies as planned."""
        # Files count as complete at once.
        at_rest = DroppedFiles(
            self.data, UPLOADS, DONE, fsync=False, clock=lambda: time.time() + REST_S
        )
        opened = runtime.open_ports(self.settings)
        ports = replace(opened, dropped=at_rest)
        if plan is not None:
            ports = Ports(
                *(Faulty(port, plan) for port in (ports.objects, ports.dropped, ports.table)),
                lambda name: Faulty(opened.open_queue(name), plan),
                Faulty(ports.aside, plan),
            )
        self.runtime = runtime.build(self.settings, ports)
        runtime.install(self.runtime)
        self.watch = DropFolder(self.data, self.runtime.resources.queues.drop, self.clock)

    def restart(self, plan: FaultPlan | None = None) -> None:
        self.runtime.close()
        runtime.release_messages(self.settings)
        self.start(plan)

    def drop(self, voxels: Any, folder: str = BRAIN, **manifest: Any) -> None:
        """Copy slices and their manifest into a folder."""
        path = self.data / folder
        path.mkdir(parents=True, exist_ok=True)
        for z, plane in enumerate(voxels):
            (path / f"{z:04d}.png").write_bytes(png(plane))
        (path / "_ingest.json").write_text(json.dumps(MANIFEST | manifest))

    def notice(self) -> None:
        """Let the folder be looked at until all that lies there was announced."""
        for _ in range(2):
            self.watch.poll()
            self.clock.advance(10)

    def work(self) -> None:
        """Do all that a server does by itself."""
        queues = self.runtime.resources.queues
        pumps = (
            (queues.drop, s3_drop.handler),
            (queues.erase, erase.handler),
            (queues.ingest, ingest_build.handler),
        )
        for _ in range(2):
            self.notice()
            while any(pump_once(queue, handler) for queue, handler in pumps):
                pass
            look_after_folders(self.runtime.ingest.drop)
            look_after_all(self.runtime.ingest.jobs)

    def delete(self, what: str = "dataset") -> None:
        """Delete dataset, project or channel, and wait until new files are later than that."""
        catalog = self.runtime.catalog
        if what == "channel":
            catalog.delete_channel("brain", "em")
        else:
            (catalog.delete_dataset if what == "dataset" else catalog.delete_project)("brain")
        row = max(self.runtime.resources.table.query("erase").rows, key=_deleted_at)
        probe = self.data / "probe"
        probe.touch()
        while probe.stat().st_ctime <= _deleted_at(row):
            probe.touch()

    def create_for_bob(self, token: str = "brain") -> None:
        """Make a private volume of bob's under the same names."""
        self.create(self.bob, token)

    def create(self, owner: int, token: str = "brain") -> None:
        """Make what is missing of a private volume of somebody's under the same names."""
        catalog = self.runtime.catalog
        for create, made in (
            (catalog.create_dataset, Dataset("brain", (20, 14, DEPTH), user_id=owner)),
            (catalog.create_project, Project("brain", "brain", user_id=owner)),
            (catalog.create_token, Token(token, "brain", user_id=owner)),
            (catalog.create_channel, Channel("brain", "em", ChannelType.IMAGE, DataType.UINT8)),
        ):
            with suppress(AlreadyExistsError):
                cast(Any, create)(made)

    def owner(self) -> int:
        owner: int = self.runtime.catalog.get_project("brain").user_id
        return owner

    def stored(self) -> Any:
        dataset = self.runtime.catalog.get_dataset("brain")
        channel = self.runtime.catalog.get_channel("brain", "em")
        level = dataset.pyramid.level(0)
        return self.runtime.volume.read(dataset, channel, Region(level, level.box, (0, 1)))[0]

    def names(self) -> list[str]:
        """Return the names of all files under ``drop``."""
        found = (path for path in (self.data / "drop").rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.data)) for path in found)


def _deleted_at(row: Row) -> float:
    return float(row.doc["deleted_at"])

"""ndio's own client of autoIngest, as published, against the real server and a web server."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ndlambda.client import connect
from tests.support import ndio
from tests.support.auto_ingest import SUCCESS, serving_folder
from tests.support.server import serving

pytestmark = pytest.mark.e2e

SESSION = Path(__file__).with_name("ndingest_session.py")
SHAPE = (40, 120, 150)
EM = np.random.default_rng(3).integers(1, 255, SHAPE).astype(np.uint8)
CELLS = (EM // 16).astype(np.uint16) * 1000


def schema(required, **kinds):
    """Return a schema as ndstore's documentation has them; NDIngest evaluates them as Python."""
    names = {name: {"type": kind} for name, kind in kinds.items()}
    return json.dumps({"type": "object", "properties": names, "required": required})


def publish(folder):
    for channel, stack in {"em": EM, "cells": CELLS}.items():
        at = folder / "kasthuri11" / channel
        at.mkdir(parents=True)
        for z, plane in enumerate(stack):
            Image.fromarray(plane).save(at / f"{z:04d}.png")
    schemas = {
        "dataset": schema(["dataset_name", "imagesize", "voxelres"], imagesize="array"),
        "project": schema(["project_name"], project_name="string", public="integer"),
        "channel": schema(["channel_name", "data_url", "file_type"], data_url="string"),
    }
    for name, text in schemas.items():
        (folder / f"{name}_schema.json").write_text(text)


@pytest.mark.parametrize("version", ["1.1.5", "1.1.6"])
def test_ndingest_hands_over_a_volume(ndio_python, tmp_path, version):
    publish(tmp_path / "web")
    with (
        serving_folder(tmp_path / "web") as web,
        serving(
            tmp_path / "data", NDLAMBDA_ANONYMOUS_WRITE="1", NDLAMBDA_INGEST_ALLOWED_HOSTS=web.host
        ) as server,
    ):
        words = [server.url.removeprefix("http://"), web.url, *SHAPE[::-1]]
        assert SUCCESS in ndio.run(ndio_python, version, SESSION, *words)
        anybody = connect(server.url)
        jobs = {job["channel"]: job["id"] for job in anybody.ingest.list()}
        ends = {
            channel: list(anybody.ingest.follow(job, interval_s=0.1))[-1]["state"]
            for channel, job in jobs.items()
        }
        assert ends == {"em": "COMPLETE", "cells": "COMPLETE"}
        for channel, stack in {"em": EM, "cells": CELLS}.items():
            assert np.array_equal(anybody.volume("kasthuri11", channel)[:], stack)

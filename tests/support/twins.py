"""The two ways into the catalogue, ``/resource`` and ``/v1/datasets``, and where they differ."""

from dataclasses import dataclass
from typing import Any

from tests.support.app import Server

SIZES: dict[str, Any] = {"ximagesize": 300, "yimagesize": 200, "zimagesize": 40}
CHANNEL: dict[str, Any] = {"channel_type": "image", "channel_datatype": "uint8"}


@dataclass(frozen=True)
class Twin:
    """One of the two ways in, and what it answers."""

    base: str
    project: str
    channel: str
    token: str
    conflict: int
    invalid: int
    missing_parent: int

    def paths(self, ds: str, pr: str, ch: str = "ch", tk: str = "tk") -> list[str]:
        dataset = f"{self.base}/{ds}"
        project = f"{dataset}/{self.project}/{pr}"
        return [dataset, project, f"{project}/{self.channel}/{ch}", f"{project}/{self.token}/{tk}"]

    @property
    def is_legacy(self) -> bool:
        return self.base.startswith("/resource")


RESOURCE = Twin("/resource/dataset", "project", "channel", "token", 400, 400, 400)
V1 = Twin("/v1/datasets", "projects", "channels", "tokens", 409, 422, 404)


def make_all(server: Server, twin: Twin, name: str, user: str = "alice") -> list[str]:
    """Make a dataset, project, channel and token, and return their paths."""
    paths = twin.paths(name, f"{name}_p", tk=f"{name}_t")
    for path, fields in zip(paths, (SIZES, {}, CHANNEL, {}), strict=True):
        answer = server.post(path, user, json=fields)
        assert answer.status_code == 201, answer.text
        if twin.is_legacy:
            assert answer.data == b""
    return paths

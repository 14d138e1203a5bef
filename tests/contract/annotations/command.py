"""Annotation channels through the command."""

import json
import shlex
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest

from ndlambda import errors
from ndlambda.model.ramon import fields_of
from ndlambda.model.ramon.plain import from_plain
from ndlambda.space.box import Box
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.words import edges_of, nearest, span, word_of
from tests.support.annotation_server import VOLUME
from tests.support.app import run_command
from tests.support.bodies import Array


class EndedError(Exception):
    """The command ended with another code than 0."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(f"{code}: {told}")
        self.code = code
        self.told = told


class CommandObjects(AnnotationDriver):
    """``ndlambda annotation``, ``skeleton`` and ``graph``, run in this process."""

    EXIT: ClassVar[Mapping[type[errors.NDLambdaError], int]] = {
        errors.InvalidArgumentError: 2, errors.ValidationError: 2, errors.NotFoundError: 3,
        errors.PermissionDeniedError: 4, errors.ConflictError: 5, errors.PreconditionFailedError: 5,
        errors.NDLambdaError: 1,
    }  # fmt: skip
    cannot: ClassVar[Mapping[str, str]] = {
        "replace": "`set` changes fields one by one", "batch": "`create` makes one object",
        "paint": "voxels come from programs, by the client", "mask": "`voxels` has them as a list",
        "cuboids": "they matter to programs only", "id_at": "`ids --box` of one voxel says it",
        "exceptions": "`ids --box` of one voxel says it", "top_keys": "the start page has them",
    }  # fmt: skip

    @contextmanager
    def refuses(self, error):
        before = self.stored()
        with pytest.raises(EndedError) as caught:
            yield
        assert caught.value.code == nearest(error, self.EXIT), caught.value
        assert caught.value.told.startswith(("ndlambda: ", "Usage: ")), caught.value
        assert self.stored() == before

    def run(self, *words, code=0):
        """Run a line and return what it printed."""
        done = run_command(self.server, *words)
        if done.exit_code != code:
            assert isinstance(done.exception, SystemExit), done.exception
            assert done.stdout == ""
            raise EndedError(done.exit_code, done.stderr)
        return done.stdout

    def _run(self, verb, *words):
        return self.run("annotation", verb, f"{VOLUME.name}/{self.channel.name}", *words)

    def _show(self, number):
        return json.loads(self._run("show", number, "--json"))

    def create(self, *ramons):
        return [self._create(ramon) for ramon in ramons]

    def _create(self, ramon):
        words = ["--type", ramon.ramon_type.name.lower()]
        if ramon.id:
            words += ["--id", ramon.id]
        for name, declared in fields_of(ramon.ramon_type).items():
            value = getattr(ramon, name)
            if value != declared.default:
                words += ["--field", f"{name}={word_of(value)}"]
        for key, value in ramon.kvpairs.items():
            words += ["--pair", f"{key}={value}"]
        return int(self._run("create", *words))

    def get(self, number):
        return from_plain(self._show(number))

    def derived(self, number, name):
        return self._show(number)["derived"][name]

    def change(self, number, version=None, **values):
        pairs = values.pop("pairs", {})
        words = [] if version is None else ["--if-version", version]
        for kind, given in (("field", values), ("pair", pairs)):
            un = {"field": "--unset", "pair": "--unpair"}[kind]
            for name, value in given.items():
                words += [un, name] if value is None else [f"--{kind}", f"{name}={word_of(value)}"]
        told = self._run("set", number, *words)
        assert told == f"object {number} has version {self.version(number)}\n"

    def version(self, number):
        return int(self._show(number)["version"])

    def adopt(self, of_type):
        return int(json.loads(self._run("adopt", "--type", of_type, "--json"))["adopted"])

    def delete(self, *numbers):
        lines = self._run("delete", *numbers, "--yes").splitlines()
        done = [f"object {number} is deleted" for number in numbers]
        absent = [f"there is no object {number}" for number in numbers]
        assert lines in (done, absent, [f"{line}; its voxels are being erased" for line in done])
        return lines in (done, absent)

    def query(self, **where):
        words = []
        for name, value in where.items():
            match name, value:
                case (("fields" | "pairs"), Mapping()):
                    for key, each in value.items():
                        words += [f"--{name[:-1]}", f"{key}={each}"]
                case "box", Box():
                    words += ["--box", span(value)]
                case _:
                    option = {"confidence_gt": "confidence-above"}
                    option |= {"confidence_lt": "confidence-below"}
                    words += [f"--{option.get(name, name)}", value]
        found = json.loads(self._run("list", *words, "--json"))
        assert self._run("list", *words) == "".join(f"{number}\n" for number in found)
        return found

    def reserve(self, count):
        first, last = map(int, self._run("reserve", count).split())
        assert last - first == count - 1
        return first

    def merge(self, ids, resolution=None, box=None):
        words = [] if box is None else ["--box", span(box)]
        if resolution is not None:
            words += ["--resolution", resolution]
        assert self._run("merge", *ids, *words) == f"merged into {ids[0]}\n"

    def voxels(self, number, resolution=0):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "cell.npy"
            told = self._run("voxels", number, "--resolution", resolution, "-o", file)
            found: Array = np.load(file)
        assert told == f"{file}: {len(found)} voxels\n"
        return found

    def box(self, number, resolution=0):
        words = ("box", number, "--resolution", resolution)
        found = json.loads(self._run(*words, "--json"))
        box = None if found is None else Box(tuple(found["start"]), tuple(found["stop"]))
        assert self._run(*words) == ("" if box is None else f"{span(box)}\n")
        return box

    def ids(self, box, resolution=0):
        words = ("ids", "--box", span(box), "--resolution", resolution, "--json")
        return json.loads(self._run(*words))

    def put_swc(self, text):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "cells.swc"
            file.write_bytes(text.encode())
            told = self.run("skeleton", "put", file, *self._names())
        return [int(line) for line in told.splitlines()]

    def get_swc(self, *ids):
        return self.run("skeleton", "get", *ids, *self._names())

    def edges(self, box=None, *, directed=False):
        words = [] if box is None else ["--box", span(box)]
        if directed:
            words.append("--directed")
        return edges_of(self.run("graph", *self._names(), *words).encode())

    def _names(self):
        return shlex.split(f"--token {VOLUME.name} --channel {self.channel.name}")

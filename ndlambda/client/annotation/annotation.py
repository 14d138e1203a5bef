"""Client of annotation objects: create, find, paint, read and merge them.

Objects are dicts of their fields by name (see :class:`Annotations`), voxels and masks are numpy
arrays. Coordinates are dataset coordinates: ``_xyz`` is x first, ``_zyx`` is z first.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ndlambda.batches import batched
from ndlambda.client.annotation.bodies import (
    LabelledVoxels,
    Mask,
    Where,
    array_of,
    box_query,
    corner_of,
    mask_blocks,
    where_query,
)
from ndlambda.client.transport.http import Answer
from ndlambda.client.transport.progress import Progress, reporting
from ndlambda.client.transport.session import Session, channel_path
from ndlambda.errors import ShapeMismatchError
from ndlambda.space.box import XYZ, Box
from ndlambda.wire.codecs.npy_array import CONTENT_TYPE, encode_npy

Document: TypeAlias = dict[str, Any]
"""One object: id, type, fields by name, pairs, derived, version."""

_MAX_POINTS_PER_REQUEST: Final = 1 << 18
"""Voxels per request: 3 MiB, which every server accepts."""
_MAX_IDS: Final = 10_000
"""Ids per request."""


_STEPS: Final = 1000
"""Of a progress bar whose total is not known."""


class Annotations:
    """The objects of one annotation channel; get it by :meth:`Client.annotations`.

    An object is a dict: ``id``, ``type`` (annotation, synapse, seed, segment, neuron, organelle,
    node, skeleton, roi), ``status``, ``confidence``, ``author``, the fields of its type, and
    ``pairs``, which are free key-value pairs. The server computes ``derived`` (lists of objects
    that refer to this one) and ``version``.

    Examples
    --------
    >>> cells = client.annotations("kasthuri11", "cells")  # doctest: +SKIP
    >>> number = cells.create(type="segment", neuron=3, pairs={"seen": "yes"})  # doctest: +SKIP
    >>> cells.paint(number, (4000, 5000, 100), mask_zyx)  # doctest: +SKIP
    >>> cells.query(type="segment", fields={"neuron": 3})  # doctest: +SKIP
    [7]
    >>> cells.update(number, status=2)["status"]  # doctest: +SKIP
    2
    """

    def __init__(self, session: Session, token: str, channel: str) -> None:
        self._session = session
        self.token = token
        self.channel = channel
        self._root = channel_path(token, channel)

    def __repr__(self) -> str:
        return f"<Annotations {self.token}/{self.channel}>"

    # --- objects -------------------------------------------------------------------------

    def create(self, **fields: Any) -> int:
        """Store a new object and return its id: the given ``id``, or a new one.

        Without ``type`` it is a plain annotation.

        Raises
        ------
        AlreadyExistsError
            The id is in use or was used before.
        ValidationError
            A field is invalid.
        """
        created = self._json(
            "POST", "annotations", {"type": "annotation", **fields}, repeatable=False
        )
        return int(created["ids"][0])

    def create_many(self, documents: Sequence[Mapping[str, Any]]) -> list[int]:
        """Store new objects and return their ids; all are checked before the first is stored.

        The request is not retried when the response is lost, since that could store them twice.
        """
        created = self._json("POST", "annotations", list(documents), repeatable=False)
        return list(created["ids"])

    def get(self, annotation_id: int) -> Document:
        """Return an object.

        Raises
        ------
        NotFoundError
            There is no object with this id.
        """
        found: Document = self._json("GET", f"annotations/{annotation_id}")
        return found

    def replace(self, document: Mapping[str, Any], *, if_version: int | None = None) -> Document:
        """Replace the object with the document's ``id`` as a whole, and return it.

        Omitted fields get their defaults.

        Parameters
        ----------
        document
            As :meth:`get` returns it.
        if_version
            Only if the object still has this version.

        Raises
        ------
        PreconditionFailedError
            It has another version.
        NotFoundError, ValidationError
            There is no such object, or a field is invalid.
        """
        return self._change("PUT", document["id"], dict(document), if_version)

    def update(
        self, annotation_id: int, *, if_version: int | None = None, **fields: Any
    ) -> Document:
        """Change some fields and return the object.

        None resets a field to its default; ``pairs={"a": "b", "c": None}`` sets one pair and
        removes another. Raises as :meth:`replace`.
        """
        return self._change("PATCH", annotation_id, fields, if_version)

    def delete(self, annotation_id: int) -> bool:
        """Delete an object with its voxels; no error if there is none.

        Returns
        -------
        bool
            False while a worker is still erasing its voxels.
        """
        answer = self._session.request("DELETE", self._path(f"annotations/{annotation_id}"))
        return answer.status != 202

    def delete_many(self, ids: Iterable[int]) -> list[int]:
        """Delete objects with their voxels; no error for ids without an object.

        Returns
        -------
        list of int
            Ids whose voxels workers are still erasing.
        """
        pending: list[int] = []
        for some in batched(ids, _MAX_IDS):
            answer = self._json("POST", "annotations/delete", {"ids": list(some)})
            pending += [] if answer is None else answer["pending"]
        return pending

    def query(self, *, limit: int | None = None, **where: Unpack[Where]) -> list[int]:
        """Return the ids of the objects that match all conditions, ascending.

        Parameters
        ----------
        limit
            Most ids to return; None: all.
        **where
            See :class:`Where`; without conditions all objects match.
        """
        query = where_query(where)
        return list(self._session.pages(self._path("annotations"), "ids", query=query, limit=limit))

    def top_keys(self, limit: int = 10, *, of_type: str | None = None) -> list[tuple[str, int]]:
        """Return the most frequent keys of pairs, and how many objects have each."""
        query = {"limit": str(limit)} | ({} if of_type is None else {"type": of_type})
        return [
            (one["key"], one["count"]) for one in self._json("GET", "keys", query=query)["keys"]
        ]

    def reserve(self, count: int) -> range:
        """Reserve consecutive ids for the caller alone."""
        reserved = self._json("POST", "reserve", {"count": count}, repeatable=False)
        return range(reserved["first"], reserved["first"] + reserved["count"])

    def merge(
        self, ids: Sequence[int], *, resolution: int | None = None, box: Box | None = None
    ) -> int:
        """Merge objects into the first of them and return its id; idempotent.

        Without a box, a worker may still relabel voxels of large objects after this returns.

        Parameters
        ----------
        ids
            The survivor, then the objects merged into it.
        resolution
            Relabel voxels of this resolution only; None: of all resolutions.
        box
            Relabel only voxels in a box (at ``resolution``, or 0), and keep the objects.

        Raises
        ------
        NotFoundError
            An id has no object.
        InvalidArgumentError
            A seed or neuron is merged with an object of another type.
        """
        document: Document = {"ids": [int(number) for number in ids]}
        if resolution is not None:
            document["resolution"] = resolution
        if box is not None:
            ends = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
            document["box"] = {axis: [start, stop] for axis, start, stop in ends}
        survivor: int = self._json("POST", "merge", document)["id"]
        return survivor

    # --- voxels --------------------------------------------------------------------------

    def voxels(self, annotation_id: int, resolution: int = 0) -> NDArray[np.uint32]:
        """Return an object's voxels: uint32, (n, 3), columns x, y, z.

        The voxels of a neuron are those of its segments.

        Raises
        ------
        NotFoundError
            There is no such object.
        PayloadTooLargeError
            There are too many; read boxes with :meth:`cutout`.
        """
        query = {"resolution": str(resolution)}
        return array_of(self._get(f"annotations/{annotation_id}/voxels", query), 2).astype(
            np.uint32
        )

    def paint_voxels(
        self,
        annotation_id: int,
        voxels_xyz: ArrayLike,
        *,
        resolution: int = 0,
        discipline: str = "overwrite",
    ) -> None:
        """Paint an object on a list of voxels; idempotent.

        Parameters
        ----------
        annotation_id
            An existing object.
        voxels_xyz
            Integers, (n, 3), columns x, y, z.
        resolution
            Resolution of the coordinates.
        discipline
            How it combines with stored labels: overwrite, preserve, exception; reduce erases.

        Raises
        ------
        ShapeMismatchError, DataTypeMismatchError
            The list is invalid.
        OutOfBoundsError
            A voxel is outside the image. Of a list of more than 262 144 voxels, which is sent in
            parts, the parts before it are painted.
        """
        points = np.asarray(voxels_xyz)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ShapeMismatchError(f"Voxels have the shape (n, 3), not {points.shape}.")
        query = {"resolution": str(resolution), "discipline": discipline}
        for start in range(0, len(points), _MAX_POINTS_PER_REQUEST):
            part = points[start : start + _MAX_POINTS_PER_REQUEST]
            self._post(f"annotations/{annotation_id}/voxels", query, part)

    def cutout(self, annotation_id: int, box: Box | None = None, *, resolution: int = 0) -> Mask:
        """Return an object as a mask of a box, or of the cuboids around it (None).

        Raises
        ------
        OutOfBoundsError
            The box exceeds the volume.
        PayloadTooLargeError
            The object is too large for one mask; use boxes.
        """
        query = {"resolution": str(resolution)} if box is None else box_query(box, resolution)
        answer = self._get(f"annotations/{annotation_id}/cutout", query)
        array = array_of(answer, 3).astype(np.bool_)
        if box is not None:
            return Mask(array, box.start_xyz)
        return Mask(array, corner_of(answer) if array.size else None)

    def paint(
        self,
        annotation_id: int,
        corner_xyz: XYZ,
        mask_zyx: ArrayLike,
        *,
        resolution: int = 0,
        discipline: str = "overwrite",
    ) -> None:
        """Paint an object where a mask is not 0, in blocks if it is large; idempotent.

        Parameters
        ----------
        annotation_id
            An existing object.
        corner_xyz
            First voxel of the mask.
        mask_zyx
            bool or integers, (z, y, x).
        resolution, discipline
            As for :meth:`paint_voxels`.

        Raises
        ------
        ShapeMismatchError, OutOfBoundsError
            The mask does not have three axes, or exceeds the volume.
        """
        mask = np.asarray(mask_zyx) != 0
        if mask.ndim != 3:
            raise ShapeMismatchError(f"A mask has the axes (z, y, x), not {mask.shape}.")
        z, y, x = mask.shape
        box = Box.at(corner_xyz, (x, y, z))
        for part in mask_blocks(box):
            values = mask[part.slices_zyx(box.start_xyz)]
            if values.any():
                query = {**box_query(part, resolution), "discipline": discipline}
                self._post(f"annotations/{annotation_id}/cutout", query, values)

    def box(self, annotation_id: int, resolution: int = 0, *, loose: bool = False) -> Box | None:
        """Return an object's bounding box, or None if it has no voxels.

        With ``loose`` the box consists of whole cuboids and comes from the index alone: faster,
        never too small, possibly too large.
        """
        query = {"resolution": str(resolution)} | ({"loose": "1"} if loose else {})
        found = self._json("GET", f"annotations/{annotation_id}/box", query=query)
        if found["corner"] is None:
            return None
        (x, y, z), (dx, dy, dz) = found["corner"], found["size"]
        return Box.at((x, y, z), (dx, dy, dz))

    def cuboids(self, annotation_id: int, resolution: int = 0) -> list[Box]:
        """Return the cuboids that may hold an object, in Morton order, also beyond the volume."""
        query = {"resolution": str(resolution)}
        found = self._json("GET", f"annotations/{annotation_id}/cuboids", query=query)
        dx, dy, dz = found["size"]
        return [Box.at((x, y, z), (dx, dy, dz)) for x, y, z in found["corners"]]

    # --- labels --------------------------------------------------------------------------

    def ids(self, box: Box | None = None, *, resolution: int = 0) -> NDArray[np.uint64]:
        """Return the labels in a box (None: everywhere), main and extra, ascending, without 0."""
        query = {"resolution": str(resolution)} if box is None else box_query(box, resolution)
        return np.array(self._json("GET", "ids", query=query)["ids"], np.uint64)

    def id_at(self, point_xyz: XYZ, *, resolution: int = 0) -> int:
        """Return the label of a voxel, 0 if it has none.

        Raises
        ------
        OutOfBoundsError
            The voxel is outside the volume.
        """
        axes = {axis: str(at) for axis, at in zip("xyz", point_xyz, strict=True)}
        found = self._json("GET", "ids/at", query={"resolution": str(resolution), **axes})
        number: int = found["id"]
        return number

    def exceptions(self, box: Box | None = None, *, resolution: int = 0) -> LabelledVoxels:
        """Return the voxels with several labels in a box (None: everywhere)."""
        query = {"resolution": str(resolution)} if box is None else box_query(box, resolution)
        table = array_of(self._get("exceptions", query), 2).astype(np.uint64)
        return LabelledVoxels(table[:, :3].astype(np.int64), table[:, 3:])

    def adopt(self, *, type: str = "segment", progress: Progress = False) -> int:  # noqa: A002
        """Make objects of all labels that have none, and return how many.

        Objects that exist stay as they are, also those that others make meanwhile, and ids of
        deleted objects stay unused. It may be interrupted, and repeated.

        Parameters
        ----------
        type
            Type of the objects.
        progress
            True shows a bar; a function is called with (done, total).
        """
        adopted = done = 0
        document: Document | None = {"type": type}
        with reporting(progress, _STEPS, f"adopt {self.channel}") as advance:
            while document is not None:
                found = self._json("POST", "adopt", document)
                adopted += found["adopted"]
                reached = int(found["progress"] * _STEPS)
                advance(reached - done)
                done = reached
                document = found["next"] and {"type": type, "after": found["next"]}
        return adopted

    # --- internal ------------------------------------------------------------------------

    def _path(self, resource: str) -> str:
        return f"{self._root}/{resource}"

    def _get(self, resource: str, query: Mapping[str, str]) -> Answer:
        return self._session.request("GET", self._path(resource), query=query)

    def _post(self, resource: str, query: Mapping[str, str], array: NDArray[Any]) -> None:
        self._session.request(
            "POST",
            self._path(resource),
            query=query,
            body=encode_npy(array),
            headers={"Content-Type": CONTENT_TYPE},
        )

    def _json(
        self,
        method: str,
        resource: str,
        document: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Any:
        return self._session.json(
            method, self._path(resource), document, query=query, repeatable=repeatable
        )

    def _change(
        self, method: str, annotation_id: int, document: Document, if_version: int | None
    ) -> Document:
        # A retry after a lost response would conflict with its own earlier change.
        headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
        changed: Document = self._session.json(
            method,
            self._path(f"annotations/{annotation_id}"),
            document,
            headers=headers,
            repeatable=if_version is None,
        )
        return changed

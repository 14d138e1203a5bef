"""Skeletons of an annotation channel, as SWC."""

import json
from collections.abc import Sequence
from urllib.parse import quote

from ndlambda.client.transport.session import Session


class Skeletons:
    """The trees of one annotation channel.

    Coordinates and radii are given out as they were given in: they have no unit here.

    Examples
    --------
    >>> skeletons = client.skeletons("demo", "neurons")  # doctest: +SKIP
    >>> (cell,) = skeletons.put(open("cell.swc").read())  # doctest: +SKIP
    >>> text = skeletons.get([cell])  # doctest: +SKIP
    """

    def __init__(self, session: Session, token: str, channel: str) -> None:
        self._session = session
        self._path = f"/v1/projects/{quote(token, safe='')}/channels/{quote(channel, safe='')}"

    def get(self, ids: Sequence[int] | None = None) -> str:
        """Return skeletons as one SWC text, whose numbers of nodes are their ids.

        Parameters
        ----------
        ids
            Which, in this order; None: all of the channel.

        Raises
        ------
        NotFoundError
            There is no object of an id.
        InvalidArgumentError
            An object is no skeleton.
        """
        query = None if ids is None else {"ids": ",".join(map(str, ids))}
        return self._session.request("GET", f"{self._path}/skeletons", query=query).body.decode()

    def put(self, swc: str) -> list[int]:
        """Store every tree of an SWC text as a new skeleton, and return the ids of these.

        It is not sent again by itself when the answer is lost, since that could store it twice.

        Raises
        ------
        MalformedBodyError
            The text is no SWC of whole trees; the message names the line.
        PayloadTooLargeError
            It has more nodes than one call stores.
        """
        answer = self._session.request(
            "POST",
            f"{self._path}/skeletons",
            body=swc.encode(),
            headers={"Content-Type": "text/plain; charset=utf-8"},
            repeatable=False,
        )
        ids: list[int] = json.loads(answer.body)["ids"]
        return ids

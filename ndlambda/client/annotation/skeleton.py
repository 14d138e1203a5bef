"""Client of the skeletons of an annotation channel, as SWC."""

import json
from collections.abc import Sequence

from ndlambda.client.transport.session import Session, channel_path


class Skeletons:
    """The trees of one annotation channel.

    Coordinates and radii have no unit and are kept as given.

    Examples
    --------
    >>> skeletons = client.skeletons("demo", "neurons")  # doctest: +SKIP
    >>> (cell,) = skeletons.put(open("cell.swc").read())  # doctest: +SKIP
    >>> text = skeletons.get([cell])  # doctest: +SKIP
    """

    def __init__(self, session: Session, token: str, channel: str) -> None:
        self._session = session
        self._path = channel_path(token, channel)

    def get(self, ids: Sequence[int] | None = None) -> str:
        """Return skeletons as one SWC text; its node numbers are their ids.

        Parameters
        ----------
        ids
            Which skeletons, in this order; None: all of the channel.

        Raises
        ------
        NotFoundError
            An id has no object.
        InvalidArgumentError
            An object is not a skeleton.
        """
        query = None if ids is None else {"ids": ",".join(map(str, ids))}
        return self._session.request("GET", f"{self._path}/skeletons", query=query).body.decode()

    def put(self, swc: str) -> list[int]:
        """Store every tree of an SWC text as a new skeleton, and return their ids.

        The request is not retried when the response is lost, since that could store it twice.

        Raises
        ------
        MalformedBodyError
            The text is not SWC with complete trees; the message names the line.
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

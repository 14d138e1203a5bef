"""Sends bodies to a channel: in the request or, if they are too long, uploaded before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ndlambda.client.transport.session import Session, channel_path
from ndlambda.errors import UploadNotFoundError

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends bodies to one channel.

    Attributes
    ----------
    max_body_bytes
        The longest body that the server accepts in a request; longer ones are uploaded to its
        store first. None: no limit.
    """

    session: Session
    token: str
    channel: str
    max_body_bytes: int | None

    def path(self, resource: str) -> str:
        """Return the path of a resource of the channel, such as ``cutout``."""
        return f"{channel_path(self.token, self.channel)}/{resource}"

    def post(self, resource: str, query: Mapping[str, str], body: bytes, content_type: str) -> None:
        """Send a body by an idempotent request.

        Raises
        ------
        NDLambdaError
            As ``Session.request``.
        """
        if self.max_body_bytes is None or len(body) <= self.max_body_bytes:
            self._post(resource, query, body, content_type)
            return
        for attempt in range(_ATTEMPTS):
            named = {**query, "upload": self._upload(body, content_type)}
            try:
                self._post(resource, named, b"", content_type)
            except UploadNotFoundError:
                # Used already: the answer to an earlier attempt of this request was lost.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _post(
        self, resource: str, query: Mapping[str, str], body: bytes, content_type: str
    ) -> None:
        self.session.request(
            "POST",
            self.path(resource),
            query=query,
            body=body,
            headers={"Content-Type": content_type},
        )

    def _upload(self, body: bytes, content_type: str) -> str:
        announced = {"media_type": content_type, "bytes": len(body)}
        created = self.session.json("POST", self.path("uploads"), announced)
        self.session.put(created["url"], body, with_key=created["with_key"])
        upload_id: str = created["id"]
        return upload_id

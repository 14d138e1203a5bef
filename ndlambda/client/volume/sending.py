"""Bodies on their way to a channel: in the request itself or, where too long, uploaded ahead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ndlambda.client.transport.session import Session
from ndlambda.errors import UploadNotFoundError

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends bodies to one channel.

    Attributes
    ----------
    longest_bytes
        The longest body that the server takes in a request; longer ones are put at its store
        first. None: it takes all.
    """

    session: Session
    token: str
    channel: str
    longest_bytes: int | None

    def path(self, resource: str) -> str:
        """Return the path of something of the channel, such as ``cutout``."""
        token, channel = quote(self.token, safe=""), quote(self.channel, safe="")
        return f"/v1/projects/{token}/channels/{channel}/{resource}"

    def post(self, resource: str, query: Mapping[str, str], body: bytes, content_type: str) -> None:
        """Send a body whose effect is the same when it is sent twice.

        Raises
        ------
        NDLambdaError
            As ``Session.request``.
        """
        if self.longest_bytes is None or len(body) <= self.longest_bytes:
            self._post(resource, query, body, content_type)
            return
        for attempt in range(_ATTEMPTS):
            named = {**query, "upload": self._upload(body, content_type)}
            try:
                self._post(resource, named, b"", content_type)
            except UploadNotFoundError:
                # Used already: the answer to an earlier try of this request was lost.
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
        made = self.session.json("POST", self.path("uploads"), announced)
        self.session.put(made["url"], body, with_key=made["with_key"])
        upload_id: str = made["id"]
        return upload_id

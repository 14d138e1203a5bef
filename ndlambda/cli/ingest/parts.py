"""Sends parts of a job: through the server or, if they are too large, directly to its store."""

from dataclasses import dataclass, field
from threading import Lock

from ndlambda.client import Client
from ndlambda.client.ingest import Document
from ndlambda.errors import PermissionDeniedError


@dataclass(frozen=True, slots=True)
class Parts:
    """Sends the parts of a job; safe to share between threads.

    A part has the server's name for it: ``data.blosc`` or ``000017.png``.
    """

    client: Client
    job_id: str
    _addresses: dict[tuple[int, str], Document] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def send(self, chunk: int, name: str, body: bytes) -> bool:
        """Send a part; return False if another client has sent it meanwhile.

        Raises
        ------
        InvalidStateError
            The job accepts no more data.
        """
        limit = self.client.server["limits"]["body_bytes"]
        if limit is None or len(body) <= limit:
            self.client.ingest.upload_part(self.job_id, chunk, name, body)
            return True
        address = self._address(chunk, name)
        if address is None:
            return False
        try:
            self.client.ingest.upload_to(address, body)
        except PermissionDeniedError:  # the URL has expired
            with self._lock:
                self._addresses.clear()
            address = self._address(chunk, name)
            if address is None:
                return False
            self.client.ingest.upload_to(address, body)
        return True

    def _address(self, chunk: int, name: str) -> Document | None:
        """Return where to send a part, or None if it is not missing; URLs are fetched in pages."""
        with self._lock:
            if (chunk, name) not in self._addresses:
                suffix = name.rpartition(".")[2]
                found = self.client.ingest.addresses(self.job_id, chunk - 1, suffix)
                for each in found["uploads"]:
                    stem = f"{each['slice']:06d}" if "slice" in each else "data"
                    self._addresses[each["chunk"], f"{stem}.{suffix}"] = each
            return self._addresses.pop((chunk, name), None)

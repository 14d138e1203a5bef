"""Parts that go past the server, to addresses that expire while a long upload is under way."""

import json
from dataclasses import dataclass, field

import pytest

from ndlambda import client as nd
from ndlambda import errors
from ndlambda.cli.ingest.parts import Parts

JOB = "0123456789abcdef"
LATE = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
LATE_TOKEN = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


@dataclass
class Bucket:
    """A server that takes no large bodies, and the bucket that takes its addresses' parts.

    Attributes
    ----------
    now
        Seconds; an address is good for an hour.
    refusal
        What the bucket answers to an address that has expired.
    """

    refusal: tuple[int, bytes] = (403, LATE)
    now: int = 0
    stored: dict[str, bytes] = field(default_factory=dict)
    batches: int = 0

    def send(self, request: nd.Request) -> nd.Answer:
        if request.method == "PUT":
            key, _, given = request.url.removeprefix("https://bucket.test/").partition("?at=")
            assert "Authorization" not in request.headers
            if self.now - int(given) >= 3600:
                return nd.Answer(self.refusal[0], {}, self.refusal[1])
            self.stored[key] = request.body or b""
            return nd.Answer(200, {}, b"")
        document: dict[str, object] = {"limits": {"body_bytes": 1}}
        if "/credentials" in request.url:
            self.batches += 1
            uploads = [
                {"chunk": n, "url": f"https://bucket.test/{n}?at={self.now}", "with_key": False}
                for n in range(4)
                if str(n) not in self.stored
            ]
            document = {"uploads": uploads, "expires_s": 3600, "next": None}
        return nd.Answer(200, {}, json.dumps(document).encode())


def parts(bucket: Bucket) -> Parts:
    policy = nd.RetryPolicy(attempts=2, sleep=lambda _: None, dice=lambda: 0.0)
    return Parts(nd.connect("http://s.test", "key", transport=bucket, retry=policy), JOB)


@pytest.mark.parametrize("refusal", [(403, LATE), (400, LATE_TOKEN)])
def test_an_upload_goes_on_after_its_addresses_have_expired(refusal):
    """An address expires, and so does the role that signed it, perhaps before. Seen to fail when a
    refused address is not asked for again, and for the role when 400 is taken for what it says."""
    bucket = Bucket(refusal)
    sending = parts(bucket)
    assert sending.send(0, "data.blosc", b"00")
    assert bucket.batches == 1
    bucket.now = 3600
    for chunk in (1, 2, 3):
        assert sending.send(chunk, "data.blosc", b"%d%d" % (chunk, chunk))
    assert bucket.stored == {"0": b"00", "1": b"11", "2": b"22", "3": b"33"}
    assert bucket.batches == 2


def test_a_bucket_that_refuses_fresh_addresses_is_an_error():
    bucket = Bucket()
    bucket.send = lambda request: (
        nd.Answer(403, {}, LATE) if request.method == "PUT" else Bucket.send(bucket, request)
    )
    with pytest.raises(errors.PermissionDeniedError):
        parts(bucket).send(0, "data.blosc", b"00")
    assert bucket.batches == 2


def test_what_somebody_else_has_sent_is_not_sent_again():
    bucket = Bucket(stored={"2": b"theirs"})
    assert not parts(bucket).send(2, "data.blosc", b"22")
    assert bucket.stored == {"2": b"theirs"}

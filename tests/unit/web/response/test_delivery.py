"""How bodies leave."""

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from werkzeug.test import EnvironBuilder

from ndlambda.errors import UpstreamError
from ndlambda.services.volume.results import Results
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import Context


def context_of(*, lambda_limits: bool, objects: object = None) -> Context:
    settings = SimpleNamespace(lambda_limits=lambda_limits)
    runtime = SimpleNamespace(settings=settings, results=Results(cast(Any, objects), b"secret"))
    return cast(Context, SimpleNamespace(runtime=runtime))


def test_memory_is_held_until_the_client_has_the_whole_body():
    """Seen to fail when it was let go of with the view: slow clients held bodies uncounted."""
    events: list[str] = []
    with ExitStack() as held:
        held.callback(events.append, "let go")
        context = context_of(lambda_limits=False)
        response = deliver(context, b"voxels", "product/raw", {}, held)
    body: Any = response(EnvironBuilder().get_environ(), lambda *_: None)
    events += [piece.decode() for piece in body]
    body.close()
    assert events == ["voxels", "let go"]


def test_memory_is_let_go_of_when_there_is_no_answer():
    class Broken:
        def get(self, *_: object) -> None:
            raise UpstreamError("The store is down.")

    events: list[str] = []
    context = context_of(lambda_limits=True, objects=Broken())

    def view() -> None:
        with ExitStack() as held:
            held.callback(events.append, "let go")
            deliver(context, bytes(5 << 20), "product/raw", {}, held)

    with pytest.raises(UpstreamError):
        view()
    assert events == ["let go"]

"""What every route refuses, made from the route table: a new route is here without being told of.

A refusal is a problem document with the status that the dialect's table has for its error, and no
store is asked to change anything. That the examples are refused for what the tests say follows
from their success for the owner.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ndlambda import errors
from ndlambda.errors import NDLambdaError
from ndlambda.settings import LAMBDA_BODY_BYTES
from ndlambda.web.app import App
from ndlambda.web.problem import Dialect, status_of
from tests.support.app import assert_problem
from tests.support.route_examples import (
    Example,
    Key,
    Outcome,
    RouteWorld,
    by_rule,
    serving_routes,
)

Error = type[NDLambdaError]
V1 = "/v1/projects/<name:token>/channels/<name:channel>"

OPEN_ROUTES = {
    ("GET", "/"): "the start page lists public tokens only",
    ("GET", "/healthz"): "load balancers have no key",
    ("GET", "/openapi.json"): "the document of the interface holds no data",
    ("GET", "/v1/server"): "limits, and that the caller is nobody",
    ("GET", "/v1/results/<segment:name>"): "the name is long, random and the key",
    ("GET", "/v1/ingest/schema/<segment:schema>"): "tells nothing that is stored",
    ("GET", "/v1/datasets"): "lists what is public, or the caller's",
    ("GET", "/v1/tokens"): "lists what is public, or the caller's",
    ("GET", "/resource/dataset"): "lists public datasets",
    ("GET", "/resource/publicdataset"): "lists public datasets",
    ("GET", "/resource/public/dataset"): "lists public datasets",
    ("GET", "/resource/public/token"): "lists public tokens",
    ("GET", "/resource/dataset/<segment:ds>/project"): "lists public projects",
    ("GET", "/resource/public/dataset/<segment:ds>"): "lists public projects",
    ("GET", "/sd/public_tokens"): "lists public tokens",
    ("GET", "/public_tokens"): "lists public tokens",
    ("GET", "/sd/public_datasets"): "lists public datasets",
    ("GET", "/public_datasets"): "lists public datasets",
}
OWN_ROUTES = {
    ("GET", "/ingest"): "lists the caller's jobs",
    ("GET", "/v1/ingest"): "lists the caller's jobs",
    ("GET", "/v1/drop"): "lists what waits for the caller, who owns what is dropped",
    ("POST", "/resource/dataset/<segment:ds>"): "everybody with a key may make datasets",
    ("POST", "/v1/datasets/<segment:ds>"): "everybody with a key may make datasets",
}
"""Routes that answer everybody who has a key."""

MISSING_BY_RULE: dict[Key, Error | None] = {
    ("GET", "<segment:ds>"): errors.DatasetNotFoundError,
    ("DELETE", "<segment:ds>"): errors.DatasetNotFoundError,
    ("GET", "<segment:ds>/project/<segment:pr>"): errors.DatasetNotFoundError,
    ("GET", "<segment:ds>/projects/<segment:pr>"): errors.DatasetNotFoundError,
    ("POST", "<segment:pr>"): errors.DatasetNotFoundError,
    ("DELETE", "<segment:pr>"): errors.ProjectNotFoundError,
    ("GET", "<segment:ch>"): errors.ProjectNotFoundError,
    ("POST", "<segment:ch>"): errors.ProjectNotFoundError,
    ("DELETE", "<segment:ch>"): errors.ProjectNotFoundError,
    ("GET", "<segment:tk>"): errors.ProjectNotFoundError,
    ("POST", "<segment:tk>"): errors.ProjectNotFoundError,
    ("DELETE", "<segment:tk>"): errors.TokenNotFoundError,
    ("GET", "<segment:ds>/projects"): errors.DatasetNotFoundError,
    ("GET", "<segment:pr>/channels"): errors.ProjectNotFoundError,
    ("GET", "<segment:pr>/tokens"): errors.ProjectNotFoundError,
}
"""What of the catalogue is not there for those who may not see it, by method and end of rule."""

LAST_OF_RULE = {
    "<segment:ds>": errors.DatasetNotFoundError,
    "<segment:pr>": errors.ProjectNotFoundError,
    "<segment:ch>": errors.ChannelNotFoundError,
    "<segment:tk>": errors.TokenNotFoundError,
}
AUTO_INGEST = {"/sd/autoIngest", "/sd/json"}
IN_WORDS_OF_AUTO_INGEST = (
    errors.InvalidArgumentError,
    errors.ConflictError,
    errors.ValidationError,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouteWorld]:
    with serving_routes(tmp_path_factory.mktemp("routes") / "world") as world:
        yield world


def refused(example: Example, error: Error) -> Outcome:
    """Give what becomes of an example that meets an error, by the table of its route's dialect.

    On the resource API ndstore said 404 only of a thing that is asked for itself, and its
    autoIngest answered a JSON string.
    """
    route = example.route
    if route.rule.startswith("/resource/") and issubclass(error, errors.NotFoundError):
        itself = LAST_OF_RULE.get(route.rule.rpartition("/")[2])
        if route.method != "GET" or error is not itself:
            error = errors.InvalidArgumentError
    in_its_words = route.rule in AUTO_INGEST and issubclass(error, IN_WORDS_OF_AUTO_INGEST)
    return Outcome(status_of(error, route.dialect), "" if in_its_words else error.__name__)


def unlike(found: Mapping[Key, Any], wanted: Mapping[Key, Any]) -> dict[Key, Any]:
    """Give what was found and what was wanted of the routes where the two differ."""
    return {key: (found[key], wanted[key]) for key in wanted if found[key] != wanted[key]}


def denied(example: Example, user: str | None) -> Error | None:
    """Give how somebody is refused who may not have what an example names; None: they are not."""
    if example.key in OPEN_ROUTES or (user and example.key in OWN_ROUTES):
        return None
    missing = by_rule(MISSING_BY_RULE, example.route, None)
    if user and "auto_ingest" in example.route.view.__name__:
        return errors.AlreadyExistsError
    if "job" in example.arguments:
        return errors.NotFoundError
    if example.route.dialect is Dialect.NDAUTH:
        return errors.PermissionDeniedError
    if missing and (user or example.key[0] != "POST" or missing is errors.ProjectNotFoundError):
        return missing
    return errors.PermissionDeniedError if user else errors.AuthenticationError


# --- the examples -----------------------------------------------------------------------------


def test_every_example_succeeds_for_its_owner_and_writes_if_it_changes_something(
    world: RouteWorld, tmp_path: Path
) -> None:
    """So that the refusals below are of what they say; a world of its own for each that writes."""
    found, wanted = {}, {}
    for number, example in enumerate(world.examples):
        if example.route.dialect is Dialect.NDAUTH:
            continue
        user = "admin" if "/v1/users" in example.path else "alice"
        if example.writes:
            with world.copied(tmp_path / str(number)) as own:
                outcome = own.outcome(example, user)
        else:
            outcome = world.outcome(example, user)
        found[example.key] = (outcome.status // 100, outcome.writes > 0)
        wanted[example.key] = (2, example.writes)
    assert unlike(found, wanted) == {}


# --- who asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [None, "bob"])
def test_nothing_private_is_shown_to_or_changed_by_those_who_may_not(
    world: RouteWorld, user: str | None
) -> None:
    """Seen to fail for a route whose view does not ask ``access``."""
    found, wanted = {}, {}
    for example in world.examples:
        error = denied(example, user)
        if error is None and example.writes:
            continue
        outcome = found[example.key] = world.outcome(example, user)
        wanted[example.key] = Outcome(200) if error is None else refused(example, error)
        assert b"hidden" not in outcome.body or error, example.key
    assert unlike(found, wanted) == {}


@pytest.mark.parametrize("user", [None, "bob"])
def test_a_public_token_is_for_reading_only(world: RouteWorld, user: str | None) -> None:
    error = errors.PermissionDeniedError if user else errors.AuthenticationError
    found, wanted = {}, {}
    for example in world.examples:
        if "token" in example.arguments:
            channel = {"channel": "labels"} if example.arguments.get("channel") == "em2" else {}
            found[example.key] = world.outcome(example.naming(token="shown", **channel), user)
            wanted[example.key] = refused(example, error) if example.writes else Outcome(200)
    assert unlike(found, wanted) == {}


@pytest.mark.parametrize("user", [None, "bob"])
def test_what_is_private_looks_exactly_like_what_is_not_there(
    world: RouteWorld, user: str | None
) -> None:
    """Byte for byte, apart from the request id and the name that the caller sent."""
    for example in world.examples:
        names = example.arguments.items() - {"words": "update"}.items()
        absent = {name: ABSENT[value] for name, value in names if value in ABSENT}
        absent |= {"job": "0" * 16} if "job" in example.arguments else {}
        if denied(example, user) is None or not absent:
            continue
        other = example.naming(**absent)
        assert comparable(world.ask(other, user), other) == comparable(
            world.ask(example, user), example
        ), example.key


ABSENT = {"hidden": "absent"}


def comparable(answer: TestResponse, example: Example) -> tuple[Any, ...]:
    """Give an answer without its request id and without the names of the path."""
    text = answer.text.replace(answer.headers["X-Request-Id"], "ID")
    for name in ("token", "ds", "pr", "tk", "job"):
        text = text.replace(example.arguments.get(name, "\n"), "NAME")
    headers = {name: value for name, value in answer.headers if name != "X-Request-Id"}
    return answer.status, headers, text


def test_a_key_that_cannot_be_one_is_refused_everywhere(world: RouteWorld) -> None:
    headers = {"Authorization": f"Token {world.server.keys['alice']} more"}
    for example in world.examples:
        with world.server.unchanged():
            answer = world.ask(example, headers=headers)
        assert_problem(answer, 401, "MalformedCredentialsError")
        assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("key", ["placeholder", "0" * 64, "k" * 300, "schl\u00fcssel"])
def test_an_unknown_key_is_nobody_on_old_routes_and_refused_on_new_ones(
    world: RouteWorld, key: str
) -> None:
    """ndio always sends a key, ``placeholder`` unless told otherwise."""
    found, wanted = {}, {}
    for example in world.examples:
        outcome = world.outcome(example, headers={"Authorization": f"Token {key}"})
        found[example.key] = outcome
        assert key.encode() not in outcome.body
        if example.route.dialect is Dialect.V1:
            wanted[example.key] = refused(example, errors.AuthenticationError)
        else:
            wanted[example.key] = world.outcome(example)
    assert unlike(found, wanted) == {}


# --- what is named ----------------------------------------------------------------------------

UNKNOWN: dict[str, tuple[str, Error]] = {
    "token": ("nope", errors.TokenNotFoundError),
    "channel": ("nope", errors.ChannelNotFoundError),
    "channels": ("nope", errors.ChannelNotFoundError),
    "ds": ("nope", errors.DatasetNotFoundError),
    "pr": ("nope", errors.ProjectNotFoundError),
    "ch": ("nope", errors.ChannelNotFoundError),
    "tk": ("nope", errors.TokenNotFoundError),
    "user": ("nope", errors.UserNotFoundError),
    "job": ("0" * 16, errors.NotFoundError),
    "upload": ("y" * 43, errors.UploadNotFoundError),
    "annotation": ("77", errors.NotFoundError),
    "ids": ("77", errors.NotFoundError),
    "number": ("77", errors.NotFoundError),
    "skeleton_ids": ("77", errors.NotFoundError),
    "field": ("nope", errors.NotFoundError),
    "name": ("y" * 43, errors.NotFoundError),
    "schema": ("nope", errors.NotFoundError),
    "options": ("nope", errors.UnknownNameError),
    "words": ("nope", errors.UnknownNameError),
    "resolution": ("9", errors.ResolutionNotFoundError),
    "x": ("5000", errors.OutOfBoundsError),
    "y": ("5000", errors.OutOfBoundsError),
    "z": ("5000", errors.OutOfBoundsError),
    "chunk": ("999", errors.OutOfBoundsError),
    "kind": ("99", errors.ValidationError),
    "count": ("0", errors.InvalidArgumentError),
    "args": ("nonsense", errors.PathSyntaxError),
    "predicates": ("type", errors.PathSyntaxError),
    "wanted": ("a/b/c", errors.PathSyntaxError),
    "value": ("x", errors.InvalidArgumentError),
}
"""Of every argument, what names nothing, and how that is refused."""

UNKNOWN_BY_RULE: dict[str, dict[Key, Error | None]] = {
    "ds": {**MISSING_BY_RULE, **dict.fromkeys(OPEN_ROUTES), ("POST", "<segment:ds>"): None},
    "pr": {
        ("POST", "<segment:pr>"): None,
        ("DELETE", "<segment:tk>"): errors.TokenNotFoundError,
    },
    "ch": {("POST", "<segment:ch>"): None},
    "tk": {("POST", "<segment:tk>"): None},
    "ids": {
        ("DELETE", "<ids:ids>"): None,
        ("POST", "merge/<ids:ids>/global"): errors.InvalidArgumentError,
        ("POST", "merge/<ids:ids>/global/<number:resolution>"): errors.InvalidArgumentError,
        ("POST", "merge/<ids:ids>/<path:args>"): errors.InvalidArgumentError,
    },
    "annotation": {("DELETE", "<segment:annotation>"): None},
    "field": {("GET", "setField/<number:number>/<segment:field>/<segment:value>"): None},
    "name": {
        ("PUT", "parts/<number:chunk>/<segment:name>"): errors.InvalidArgumentError,
    },
    "value": {
        (
            "GET",
            "setField/<number:number>/<segment:field>/<segment:value>",
        ): errors.ValidationError,
    },
}
"""Where it is refused otherwise; None: not at all (it is made, deleted already, or empty)."""


@pytest.mark.parametrize("argument", UNKNOWN)
def test_names_of_nothing_are_refused(world: RouteWorld, argument: str) -> None:
    """A superuser asks, who is told what is not there."""
    value, error = UNKNOWN[argument]
    found, wanted = {}, {}
    for example in world.examples:
        if argument not in example.arguments:
            continue
        otherwise = by_rule(UNKNOWN_BY_RULE.get(argument, {}), example.route, error)
        if otherwise is not None:
            found[example.key] = world.outcome(example.naming(**{argument: value}), "admin")
            wanted[example.key] = refused(example, otherwise)
    assert found
    assert unlike(found, wanted) == {}


WRONG_KIND = {
    **dict.fromkeys(("number", "resolution", "x", "y", "z", "time", "count", "chunk"), "9" * 21),
    **dict.fromkeys(("kind", "ids", "skeleton_ids"), "-1"),
    **dict.fromkeys(("token", "channel", "channels"), "a-b"),
    "words": "UPDATE",
}
"""What the rules of arguments do not match."""


@pytest.mark.parametrize("argument", WRONG_KIND)
def test_words_of_another_kind_reach_no_view(world: RouteWorld, argument: str) -> None:
    for example in world.examples:
        if argument in example.arguments:
            outcome = world.outcome(example.naming(**{argument: WRONG_KIND[argument]}), "alice")
            assert 400 <= outcome.status < 406, (example.key, outcome)
            assert outcome.error, example.key
            assert outcome.writes == 0, example.key


def test_a_channel_without_labels_has_no_objects(world: RouteWorld) -> None:
    found, wanted = {}, {}
    for example in world.examples:
        if example.arguments.get("channel") == "labels" and example.key not in OF_ANY_CHANNEL:
            found[example.key] = world.outcome(example.naming(channel="em"), "alice")
            wanted[example.key] = refused(example, errors.InvalidArgumentError)
    assert unlike(found, wanted) == {}


OF_ANY_CHANNEL = {
    ("GET", "/v1/projects/<name:token>/channels/<name:channel>/digest"),
    ("GET", "/v1/projects/<name:token>/channels/<name:channel>/propagation"),
}


@pytest.mark.parametrize(
    ("state", "error"),
    [("readonly", errors.ReadOnlyChannelError), ("busy", errors.InvalidStateError)],
)
def test_a_channel_that_takes_no_writes_is_not_written(
    world: RouteWorld, state: str, error: Error
) -> None:
    """Not by its owner either; ``busy`` is under propagation."""
    found, wanted = {}, {}
    for example in world.examples:
        names = [name for name in ("channel", "channels") if name in example.arguments]
        cancels = example.key == ("DELETE", f"{V1}/propagation")
        if example.writes and names:
            kind = "labels" if example.arguments[names[0]] == "labels" else "em"
            closed = example.naming(**{names[0]: f"{kind}_{state}"})
            found[example.key] = world.outcome(closed, "alice")
            wanted[example.key] = refused(example, errors.InvalidStateError if cancels else error)
    assert unlike(found, wanted) == {}


# --- what is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"reslution": "0"}, {"resolution": ["0", "0"]}])
def test_a_parameter_that_is_misspelt_or_doubled_is_refused(
    world: RouteWorld, change: dict[str, Any]
) -> None:
    """It would be read as a whole axis or another box; ndstore's own routes have no parameters."""
    found, wanted = {}, {}
    for example in world.examples:
        route = example.route
        knows = route.query or "<name:channel>" in route.rule
        if knows and route.dialect in {Dialect.V1, Dialect.INGEST}:
            found[example.key] = world.outcome(example.asking(**change), "alice")
            wanted[example.key] = refused(example, errors.InvalidArgumentError)
    assert unlike(found, wanted) == {}


GARBAGE = {
    "nothing": b"",
    "text": b"no use",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "an object twice": b"{} {}",
    "a field twice": b'{"public": 1, "public": 0}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a number of 5000 digits": b'{"ximagesize": ' + b"1" * 5000 + b"}",
    "utf-16": '{"public": 1}'.encode("utf-16-le") + b"\xd8",
    "every byte": bytes(range(256)),
}
TAKES_ANY_BYTES = {
    ("PUT", "/ingest/<segment:job>/parts/<number:chunk>/<segment:name>"): "faults are listed later",
    ("PUT", "/v1/ingest/<segment:job>/parts/<number:chunk>/<segment:name>"): "the same",
    ("PUT", f"{V1}/uploads/<segment:upload>"): "read by the request that it is for",
}


@pytest.mark.parametrize("garbage", [*GARBAGE, "half"])
def test_bodies_that_cannot_be_read_are_malformed(world: RouteWorld, garbage: str) -> None:
    found, wanted = {}, {}
    for example in world.examples:
        may_be_empty = example.key == ("POST", f"{V1}/propagation") and garbage == "nothing"
        if example.body and example.key not in TAKES_ANY_BYTES and not may_be_empty:
            half = example.body[: len(example.body) // 2]
            user = "admin" if "/v1/users" in example.path else "alice"
            found[example.key] = world.outcome(example, user, data=GARBAGE.get(garbage, half))
            wanted[example.key] = refused(example, errors.MalformedBodyError)
    assert unlike(found, wanted) == {}


def limited(world: RouteWorld, **settings: Any) -> RouteWorld:
    """Give the world under other settings."""
    server = copy(world.server)
    server.runtime = replace(server.runtime, settings=replace(server.settings, **settings))
    server.app = App(server.runtime, world.server.app.routes)
    return replace(world, server=server)


@pytest.mark.parametrize("user", [None, "alice"])
def test_a_body_over_the_limit_is_refused_unread(world: RouteWorld, user: str | None) -> None:
    small = limited(world, body_bytes=5000)
    length = {"CONTENT_LENGTH": "5001"}
    for example in world.examples:
        with world.server.unchanged():
            answer = small.ask(example, user, data=b"", environ_overrides=length)
        problem = assert_problem(answer, 413, "PayloadTooLargeError")
        assert problem["limit"] == 5000, example.key


def test_on_lambda_only_what_takes_uploads_takes_more_than_lambda(world: RouteWorld) -> None:
    small = limited(world, lambda_limits=True)
    length = {"CONTENT_LENGTH": str(LAMBDA_BODY_BYTES + 1)}
    taken = {
        example.key
        for example in world.examples
        if small.outcome(example, data=b"", environ_overrides=length).status != 413
    }
    assert taken == TAKES_ANY_BYTES.keys()


def test_a_body_over_the_limit_is_refused_though_it_does_not_say_its_length(
    world: RouteWorld,
) -> None:
    small = limited(world, body_bytes=100)
    stream = {"wsgi.input_terminated": True}
    found, wanted = {}, {}
    for example in world.examples:
        if example.body and "/v1/users" not in example.path:
            found[example.key] = small.outcome(
                example,
                "alice",
                data=None,
                input_stream=BytesIO(bytes(1 << 20)),
                environ_overrides=stream,
            )
            wanted[example.key] = refused(example, errors.PayloadTooLargeError)
    assert unlike(found, wanted) == {}


def test_a_json_body_over_a_megabyte_is_refused(world: RouteWorld) -> None:
    found, wanted = {}, {}
    for example in world.examples:
        if example.body.startswith(b"{") and example.key not in TAKES_ANY_BYTES:
            user = "admin" if "/v1/users" in example.path else "alice"
            spaces = b" " * (LONGEST_JSON.get(example.key, 1 << 20) + 1)
            found[example.key] = world.outcome(example, user, data=spaces)
            wanted[example.key] = refused(example, errors.PayloadTooLargeError)
    assert unlike(found, wanted) == {}


LONGEST_JSON = {("POST", f"{V1}/annotations"): 4 << 20}


# --- methods ----------------------------------------------------------------------------------


def test_other_methods_are_refused_with_those_allowed(world: RouteWorld) -> None:
    """HEAD is among them where a GET changes something."""
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"}
    for example in world.examples:
        allowed = set(world.server.call("OPTIONS", example.path).headers["Allow"].split(", "))
        assert example.route.method in allowed
        assert ("HEAD" in allowed) == ("GET" in allowed and not example.route.changes)
        for method in methods - allowed:
            with world.server.unchanged():
                answer = world.server.call(method, example.path, "alice")
            if method != "HEAD":
                problem = assert_problem(answer, 405, "MethodNotAllowedError")
                assert problem["allow"] == sorted(allowed - {"OPTIONS"}), example.key
            assert answer.status_code == 405
            assert answer.headers["Allow"] == ", ".join(sorted(allowed - {"OPTIONS"}))

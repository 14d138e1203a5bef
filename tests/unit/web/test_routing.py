import json

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ndlambda import errors
from ndlambda.web.problem import STATUS, Dialect, problem_response, status_of
from ndlambda.web.routing import Route, build_map, discover, normalise


@pytest.mark.parametrize(("sent", "meant"), [
    ("/sd/tok/info/", "/sd/tok/info/"),
    ("/nd/sd//public_tokens/", "/sd/public_tokens/"),
    ("/nd//nd/resource/dataset/d/", "/resource/dataset/d/"),
    ("/nd//sd/tok/ch/hdf5/0/0,1/0,1/0,1/0,1", "/sd/tok/ch/hdf5/0/0,1/0,1/0,1/0,1"),
    ("/ocp/ca/tok/info/", "/sd/tok/info/"),
    ("/nd/ocp/ca/tok/info", "/sd/tok/info"),
    ("/ocpca/tok/info", "/sd/tok/info"),
    ("/tilecache/t/c/xy/0/0_0_0.png", "/catmaid/t/c/xy/0/0_0_0.png"),
    ("//nd", "/nd"),
    ("/", "/"),
    ("", "/"),
    ("/v1/datasets", "/v1/datasets"),
])  # fmt: skip
def test_the_many_paths_of_clients_become_one(sent, meant):
    assert normalise(sent) == meant


def test_every_error_class_has_a_status():
    classes = [
        c
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.NDLambdaError)
    ]
    for dialect in Dialect:
        for error_class in classes:
            assert 400 <= status_of(error_class, dialect) < 600
    named = [c for c in classes if c in STATUS]
    assert len(named) == len(STATUS)


@pytest.mark.parametrize(("error_class", "dialect", "status"), [
    (errors.OutOfBoundsError, Dialect.V1, 400),
    (errors.OutOfBoundsError, Dialect.NDSTORE, 404),
    (errors.ReadOnlyChannelError, Dialect.V1, 403),
    (errors.ReadOnlyChannelError, Dialect.NDSTORE, 404),
    (errors.PermissionDeniedError, Dialect.NDSTORE, 403),
    (errors.AuthenticationError, Dialect.V1, 401),
    (errors.AuthenticationError, Dialect.NDSTORE, 403),
    (errors.AuthenticationError, Dialect.NDSTORE_INFO, 401),
    (errors.MalformedCredentialsError, Dialect.NDSTORE, 401),
    (errors.AlreadyExistsError, Dialect.RESOURCE, 400),
    (errors.ValidationError, Dialect.RESOURCE, 400),
    (errors.ValidationError, Dialect.V1, 422),
    (errors.PayloadTooLargeError, Dialect.NDSTORE, 413),
    (errors.MethodNotAllowedError, Dialect.NDSTORE, 400),
    (errors.MethodNotAllowedError, Dialect.V1, 405),
    (errors.AlreadyExistsError, Dialect.NDSTORE, 404),
    (errors.AlreadyExistsError, Dialect.V1, 409),
    (errors.ValidationError, Dialect.NDSTORE, 404),
    (errors.PreconditionFailedError, Dialect.NDSTORE, 404),
    (errors.WriteContentionError, Dialect.NDSTORE, 409),
    (errors.CuboidDecodeError, Dialect.NDSTORE, 500),
    (errors.InvalidStateError, Dialect.NDSTORE, 404),
    (errors.InvalidStateError, Dialect.V1, 409),
    (errors.UnsupportedMediaTypeError, Dialect.NDSTORE, 404),
    (errors.TokenNotFoundError, Dialect.V1, 404),
    (errors.AuthenticationError, Dialect.RESOURCE, 403),
    (errors.MalformedCredentialsError, Dialect.RESOURCE, 401),
    (errors.MalformedBodyError, Dialect.RESOURCE, 400),
    (errors.DatasetNotFoundError, Dialect.RESOURCE, 404),
    (errors.WriteContentionError, Dialect.RESOURCE, 409),
    (errors.PermissionDeniedError, Dialect.NDAUTH, 403),
    (errors.MalformedBodyError, Dialect.NDAUTH, 403),
    (errors.MalformedCredentialsError, Dialect.NDAUTH, 401),
    (errors.AuthenticationError, Dialect.INGEST, 400),
    (errors.MalformedCredentialsError, Dialect.INGEST, 401),
    (errors.PermissionDeniedError, Dialect.INGEST, 400),
    (errors.NotFoundError, Dialect.INGEST, 400),
    (errors.ConflictError, Dialect.INGEST, 400),
    (errors.WriteContentionError, Dialect.INGEST, 409),
    (errors.ValidationError, Dialect.INGEST, 400),
    (errors.PayloadTooLargeError, Dialect.INGEST, 413),
    (errors.AuthenticationError, Dialect.NDSTORE_SWC, 403),
    (errors.MalformedCredentialsError, Dialect.NDSTORE_SWC, 401),
    (errors.TokenNotFoundError, Dialect.NDSTORE_SWC, 400),
    (errors.ReadOnlyChannelError, Dialect.NDSTORE_SWC, 400),
    (errors.InvalidStateError, Dialect.NDSTORE_SWC, 400),
    (errors.WriteContentionError, Dialect.NDSTORE_SWC, 409),
    (errors.ValidationError, Dialect.NDSTORE_SWC, 400),
])  # fmt: skip
def test_statuses_follow_the_dialect(error_class, dialect, status):
    assert status_of(error_class, dialect) == status


def test_a_problem_names_its_class_and_keeps_its_own_members():
    error = errors.PayloadTooLargeError("too much", limit=5, status="mine", type="mine")
    response = problem_response(error, "abc")
    body = json.loads(response.get_data())
    assert response.content_type == "application/problem+json"
    assert body == {
        "type": "urn:ndlambda:error:PayloadTooLargeError",
        "title": "Payload too large",
        "status": 413,
        "detail": "too much",
        "instance": "abc",
        "limit": 5,
    }


def test_every_route_module_is_discovered_and_no_path_has_two_views():
    seen = {}
    for route in discover("ndlambda.web.routes"):
        assert (route.method, route.rule) not in seen, route
        seen[route.method, route.rule] = route.view
    assert ("GET", "/healthz") in seen


def _matched(path, method="GET"):
    rule, arguments = _MAP.bind("", path_info=path).match(method=method)
    return rule.summary, arguments


def _route(rule, method="GET"):
    return Route(method, rule, lambda: None, rule)


_MAP = build_map(
    [
        # In the order in which the tables of modules are discovered: objects before cutouts.
        _route("/sd/<name:token>/<channel:channel>/<ids:ids>/<path:options>"),
        _route("/sd/<name:token>/<channel:channel>", "POST"),
        _route("/sd/<name:token>/<channel:channel>/<words:words>", "POST"),
        _route("/sd/<name:token>/<channel:channel>/reserve/<number:count>"),
        _route("/<root:token>/<channel:channel>/<ids:ids>"),
        _route("/sd/<name:token>/<any(npz,raw):service>/<path:args>"),
        _route("/sd/<name:token>/info"),
        _route("/resource/<segment:ds>/project"),
    ]
)


def test_objects_take_no_path_from_cutouts_without_channel():
    """Seen to fail with the weight of other names: npz was a channel, and 0 an object in it."""
    summary, arguments = _matched("/sd/tok/npz/0/1,2/3,4/5,6")
    assert summary == "/sd/<name:token>/<any(npz,raw):service>/<path:args>"
    assert arguments == {"token": "tok", "service": "npz", "args": "0/1,2/3,4/5,6"}


def test_objects_take_no_path_from_what_describes_a_token():
    with pytest.raises(MethodNotAllowed) as caught:
        _matched("/sd/tok/info", "POST")
    assert set(caught.value.valid_methods) == {"GET", "HEAD"}
    assert _matched("/sd/tok/information", "POST")[1]["channel"] == "information"


def test_a_first_word_of_other_rules_is_no_token():
    with pytest.raises(NotFound):
        _matched("/resource/ch/7/8")
    with pytest.raises(NotFound):
        _matched("/resource/ch/7,8")
    assert _matched("/resources/ch/7,8")[1] == {"token": "resources", "channel": "ch", "ids": "7,8"}


@pytest.mark.parametrize("words", ["update", "update/json", "a/b/c/d"])
def test_words_are_small_letters_and_slashes(words):
    assert _matched(f"/sd/tok/ch/{words}", "POST")[1]["words"] == words


@pytest.mark.parametrize("path", ["updatE", "update/2", "a//b", "/a", "a-b", "reserve/5"])
def test_anything_else_is_no_words(path):
    with pytest.raises((NotFound, MethodNotAllowed)):
        _matched(f"/sd/tok/ch/{path}", "POST")


def test_numbers_have_an_end():
    """int() refuses more than 4300 digits with an error that nobody expects."""
    assert _matched("/sd/tok/ch/reserve/" + "9" * 20)[1]["count"] == 10**20 - 1
    for count in ("9" * 21, "9" * 5000, "-1", "٥"):
        with pytest.raises(NotFound):
            _matched(f"/sd/tok/ch/reserve/{count}")


@pytest.mark.parametrize(("path", "rule"), [
    ("/sd/tok/npz/raw/0/1,2/3,4/5,6", "/sd/<name:token>/<names:channels>/raw/<path:args>"),
    ("/sd/tok/npz/0/1,2/3,4/5,6", "/sd/<name:token>/<any(npz,raw):service>/<path:args>"),
])  # fmt: skip
@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_rules_does_not_decide_what_a_path_means(path, rule, step):
    """Seen to fail with names that weigh as much as listed words: npz was the service."""
    rules = [
        "/sd/<name:token>/<any(npz,raw):service>/<path:args>",
        "/sd/<name:token>/<names:channels>/raw/<path:args>",
    ]
    found, _ = build_map([_route(each) for each in rules[::step]]).bind("", path_info=path).match()
    assert found.rule == rule

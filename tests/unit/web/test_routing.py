import json

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ndlambda import errors
from ndlambda.model.reserved import CHANNEL_WORDS, FIRST_WORDS
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
    base = errors.NDLambdaError
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, base)}
    assert all(400 <= status_of(c, dialect) < 600 for dialect in Dialect for c in classes)
    assert set(STATUS) <= classes


@pytest.mark.parametrize(("dialect", "status", "names"), [
    (Dialect.V1, 400, "OutOfBounds"),
    (Dialect.V1, 401, "Authentication"),
    (Dialect.V1, 403, "ReadOnlyChannel"),
    (Dialect.V1, 404, "TokenNotFound"),
    (Dialect.V1, 405, "MethodNotAllowed"),
    (Dialect.V1, 409, "AlreadyExists InvalidState"),
    (Dialect.V1, 422, "Validation"),
    (Dialect.NDSTORE, 400, "MethodNotAllowed"),
    (Dialect.NDSTORE, 401, "MalformedCredentials"),
    (Dialect.NDSTORE, 403, "PermissionDenied Authentication"),
    (Dialect.NDSTORE, 404, "OutOfBounds ReadOnlyChannel AlreadyExists Validation"),
    (Dialect.NDSTORE, 404, "PreconditionFailed InvalidState UnsupportedMediaType"),
    (Dialect.NDSTORE, 409, "WriteContention"),
    (Dialect.NDSTORE, 413, "PayloadTooLarge"),
    (Dialect.NDSTORE, 500, "CuboidDecode"),
    (Dialect.NDSTORE_INFO, 401, "Authentication"),
    (Dialect.NDSTORE_SWC, 400, "TokenNotFound ReadOnlyChannel InvalidState Validation"),
    (Dialect.NDSTORE_SWC, 401, "MalformedCredentials"),
    (Dialect.NDSTORE_SWC, 403, "Authentication"),
    (Dialect.NDSTORE_SWC, 409, "WriteContention"),
    (Dialect.RESOURCE, 400, "AlreadyExists Validation MalformedBody"),
    (Dialect.RESOURCE, 401, "MalformedCredentials"),
    (Dialect.RESOURCE, 403, "Authentication"),
    (Dialect.RESOURCE, 404, "DatasetNotFound"),
    (Dialect.RESOURCE, 409, "WriteContention"),
    (Dialect.NDAUTH, 401, "MalformedCredentials"),
    (Dialect.NDAUTH, 403, "PermissionDenied MalformedBody"),
    (Dialect.INGEST, 400, "Authentication PermissionDenied NotFound Conflict Validation"),
    (Dialect.INGEST, 401, "MalformedCredentials"),
    (Dialect.INGEST, 409, "WriteContention"),
    (Dialect.INGEST, 413, "PayloadTooLarge"),
])  # fmt: skip
def test_statuses_follow_the_dialect(dialect, status, names):
    found = {name: status_of(getattr(errors, f"{name}Error"), dialect) for name in names.split()}
    assert set(found.values()) == {status}, found


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


def test_every_word_of_a_path_in_the_place_of_a_token_or_channel_is_reserved():
    rules = [route.rule.split("/")[1:] for route in discover("ndlambda.web.routes")]
    assert {rule[0] for rule in rules if rule[0].isalnum()} <= FIRST_WORDS
    behind_token = {
        word for rule in rules if rule[0] == "sd" for word in rule[2:4] if word.isalpha()
    }
    assert behind_token <= CHANNEL_WORDS


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


@pytest.mark.parametrize("path", ["/resource/ch/7/8", "/resource/ch/7,8"])
def test_a_first_word_of_other_rules_is_no_token(path):
    with pytest.raises(NotFound):
        _matched(path)
    assert _matched("/resources/ch/7,8")[1] == {"token": "resources", "channel": "ch", "ids": "7,8"}


def test_words_are_small_letters_and_slashes_and_nothing_else():
    for words in ("update", "update/json", "a/b/c/d"):
        assert _matched(f"/sd/tok/ch/{words}", "POST")[1]["words"] == words
    for path in ("updatE", "update/2", "a//b", "/a", "a-b", "reserve/5"):
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

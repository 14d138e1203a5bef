import json

import pytest

from ndlambda import errors
from ndlambda.web.problem import STATUS, Dialect, problem_response, status_of
from ndlambda.web.routing import discover, normalise


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
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
    ],
)
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


@pytest.mark.parametrize(
    ("error_class", "dialect", "status"),
    [
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
        (errors.CuboidDecodeError, Dialect.NDSTORE, 500),
    ],
)
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


def test_busy_answers_say_when_to_come_back():
    assert (
        problem_response(errors.QuotaExceededError("busy", retry_after_s=7), "r").headers[
            "Retry-After"
        ]
        == "7"
    )
    assert (
        problem_response(errors.UpstreamThrottledError("busy"), "r").headers["Retry-After"] == "2"
    )


def test_every_route_module_is_discovered_and_no_path_has_two_views():
    seen = {}
    for route in discover("ndlambda.web.routes"):
        assert (route.method, route.rule) not in seen, route
        seen[route.method, route.rule] = route.view
    assert ("GET", "/healthz") in seen

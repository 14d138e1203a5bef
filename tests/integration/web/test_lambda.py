"""The same application through API Gateway events, as Lambda gets and answers them."""

import base64
import copy
import io
import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import chalice_app
from functions import http
from ndlambda import runtime
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.settings import LAMBDA_BODY_BYTES, Settings

EVENTS = Path(__file__).parents[2] / "events"
VOXELS = np.random.default_rng(0).integers(1, 255, (1, 16, 64, 64)).astype("u1")
CONTEXT = SimpleNamespace(
    function_name="api", aws_request_id="1", get_remaining_time_in_millis=lambda: 30_000
)


def event(name: str) -> dict:
    return json.loads((EVENTS / f"{name}.json").read_text())


def npz(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return zlib.compress(buffer.getvalue())


def un_npz(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(zlib.decompress(body)))


@pytest.fixture
def built(tmp_path):
    settings = Settings(data=tmp_path, fsync=False, anonymous_write=True, lambda_limits=True)
    built = runtime.build(settings)
    runtime.install(built)
    http._wsgi_handler.cache_clear()
    built.catalog.create_dataset(Dataset("ds", (2048, 2048, 16)))
    built.catalog.create_project(Project("pr", "ds"))
    built.catalog.create_channel(Channel("pr", "em", ChannelType.IMAGE, DataType.UINT8))
    built.catalog.create_token(Token("tok", "pr", public=True))
    yield built
    http._wsgi_handler.cache_clear()
    built.close()


@pytest.fixture(params=["function", "chalice"])
def answer(request, built):
    """Both ways in: the bare function, and through the Chalice application."""
    return http.handler if request.param == "function" else chalice_app.app


def post(answer, array) -> dict:
    sent = event("apigw_v1_post_binary")
    sent["body"] = base64.b64encode(npz(array)).decode()
    return answer(sent, CONTEXT)


def body_of(reply: dict) -> bytes:
    return base64.b64decode(reply["body"]) if reply["isBase64Encoded"] else reply["body"].encode()


def headers_of(reply: dict) -> dict:
    many = reply.get("multiValueHeaders") or {k: [v] for k, v in reply["headers"].items()}
    return {name.lower(): values[0] for name, values in many.items()}


def test_binary_bodies_survive_both_ways_without_an_accept_header(answer):
    assert post(answer, VOXELS)["statusCode"] == 200
    reply = answer(event("apigw_v1_get_without_accept"), CONTEXT)
    assert (reply["statusCode"], reply["isBase64Encoded"]) == (200, True)
    assert headers_of(reply)["content-type"] == "product/npz"
    np.testing.assert_array_equal(un_npz(body_of(reply)), VOXELS)


def test_queries_and_accept_reach_the_route(answer):
    post(answer, VOXELS)
    reply = answer(event("apigw_v1_query"), CONTEXT)
    assert headers_of(reply)["x-ndlambda-shape"] == "16,64,64"
    assert body_of(reply) == VOXELS.tobytes()


@pytest.mark.parametrize("name", ["apigw_v1_get_with_accept", "apigw_v2_get"])
def test_json_answers_are_text(answer, name):
    reply = answer(event(name), CONTEXT)
    assert (reply["statusCode"], reply["isBase64Encoded"]) == (200, False)
    assert json.loads(reply["body"]) == ["tok"]


def test_head_is_answered_without_a_body(answer):
    reply = answer(event("apigw_v1_head"), CONTEXT)
    assert (reply["statusCode"], body_of(reply)) == (200, b"")


def test_problems_are_readable_text(answer):
    lost = event("apigw_v1_get_without_accept")
    lost["path"] = "/sd/tok/nothere/npz/0/0,64/0,64/0,16/"
    reply = answer(lost, CONTEXT)
    assert reply["statusCode"] == 404
    assert json.loads(reply["body"])["type"] == "urn:ndlambda:error:ChannelNotFoundError"


def test_the_stage_is_no_part_of_the_path(answer):
    sent = event("apigw_v1_get_with_accept")
    assert sent["requestContext"]["path"].startswith("/prod/")
    assert answer(sent, CONTEXT)["statusCode"] == 200


def test_a_body_over_lambdas_limit_is_answered_by_a_redirect_to_the_result(answer, built):
    big = event("apigw_v1_query")
    ranges = {"x": "0:2048", "y": "0:2048", "z": "0:2", "format": "raw"}
    big["queryStringParameters"] = ranges
    big["multiValueQueryStringParameters"] = {k: [v] for k, v in ranges.items()}
    reply = answer(big, CONTEXT)
    assert reply["statusCode"] == 303
    assert len(body_of(reply)) == 0
    name = headers_of(reply)["location"].removeprefix("/v1/results/")
    assert len(built.resources.objects.get(f"results/{name}").data) == 2048 * 2048 * 2


def test_an_upload_over_lambdas_limit_is_refused_with_the_limit(answer):
    sent = copy.deepcopy(event("apigw_v1_post_binary"))
    sent["body"] = base64.b64encode(bytes(LAMBDA_BODY_BYTES + 1)).decode()
    reply = answer(sent, CONTEXT)
    assert reply["statusCode"] == 413
    assert json.loads(reply["body"])["limit"] == LAMBDA_BODY_BYTES


def test_chalice_declares_every_path_and_binds_its_workers(built):
    assert set(chalice_app.app.routes) == {"/", "/{proxy+}"}
    assert set(chalice_app.app.routes["/{proxy+}"]) >= {"GET", "POST", "PUT", "DELETE", "HEAD"}
    assert chalice_app.app.api.binary_types == ["*/*"]
    for name in ("erase", "propagate", "sweep"):
        assert chalice_app.app.handler_map[name] is not None


@pytest.mark.parametrize(
    ("worker", "body"),
    [
        (chalice_app.propagate_worker, {"v": 1, "uid": "unknown"}),
        (chalice_app.erase_worker, {"v": 1, "job": "unknown"}),
    ],
)
def test_workers_answer_queue_events(built, worker, body):
    sent = event("sqs")
    sent["Records"][0]["body"] = json.dumps(body)
    assert worker(sent, CONTEXT) == {"batchItemFailures": []}


def test_the_schedule_looks_after_lost_messages(built):
    sent = {
        "version": "0",
        "id": "1",
        "account": "123456789012",
        "region": "us-east-1",
        "time": "2026-01-01T00:00:00Z",
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "resources": [],
        "detail": {},
    }
    answer = chalice_app.sweep_worker(sent, CONTEXT)
    assert answer == {
        "deletions": 0,
        "propagations": 0,
        "waiting folders": 0,
        "ingests": 0,
    }

"""What the AWS adapters send when the answer is an error, a refusal in part, or silence."""

import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from pynamodb.expressions.operand import Path, Value

from ndlambda.errors import (
    InvalidArgumentError,
    NDLambdaError,
    PreconditionFailedError,
    UpstreamError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    WriteContentionError,
)
from ndlambda.stores.aws import AwsConfig, DynamoTable, S3ObjectStore, SqsQueue, StoreRetryPolicy
from ndlambda.stores.aws.dynamo import DynamoRequests
from ndlambda.stores.aws.session import make_client
from ndlambda.stores.ports import (
    MAX_DELETED,
    Create,
    Overwrite,
    Put,
    Range,
    Replace,
    Row,
    Suffix,
)
from tests.support.stub_server import Answer, StubServer, stub_server

ATTEMPTS = 4
FAST = StoreRetryPolicy(attempts=ATTEMPTS, sleep=lambda _: None)

STORED = Answer(200, b"hello", {"ETag": '"e1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
SLOW_DOWN = Answer(503, b"<Error><Code>SlowDown</Code></Error>")
BROKEN = Answer(500, b"<Error><Code>InternalError</Code></Error>")
SILENCE = Answer(hangs=True)


def config_of(stub: StubServer, retry: StoreRetryPolicy = FAST) -> AwsConfig:
    return AwsConfig("us-east-1", stub.endpoint, "key", "secret", retry=retry)


def s3_of(stub: StubServer) -> S3ObjectStore:
    return S3ObjectStore(config_of(stub), "bucket")


def table_of(stub: StubServer, retry: StoreRetryPolicy = FAST) -> DynamoTable:
    return DynamoTable(config_of(stub, retry), "table")


def bodies_of(stub: StubServer) -> list[Any]:
    return [json.loads(request.body) for request in stub.requests]


def all_fail(kind: type[NDLambdaError], *asks: Callable[[], object]) -> None:
    for ask in asks:
        with pytest.raises(kind) as failure:
            ask()
        assert type(failure.value) is kind


def json_answer(body: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.0"})


# --- S3 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ask", "trouble"), [
    (lambda store: store.get("k"), SLOW_DOWN),
    (lambda store: store.put("k", b"hello", Overwrite()), BROKEN),
    (lambda store: store.put("k", b"hello", Create()), SLOW_DOWN),
    (lambda store: store.put("k", b"hello", Replace('"e0"')), BROKEN),
    (lambda store: store.delete("k"), SLOW_DOWN),
    (lambda store: store.delete("k"), BROKEN),
], ids=["get", "put", "create", "replace", "delete", "delete"])  # fmt: skip
def test_s3_requests_are_repeated_until_they_work(ask, trouble):
    with stub_server([trouble, trouble, STORED]) as stub:
        ask(s3_of(stub))
        assert len(stub.requests) == 3


@pytest.mark.parametrize(("trouble", "kind"), [
    (SLOW_DOWN, UpstreamThrottledError), (Answer(503), UpstreamThrottledError),
    (Answer(429), UpstreamThrottledError), (BROKEN, UpstreamError),
])  # fmt: skip
def test_s3_requests_are_given_up_in_the_end(trouble, kind):
    with stub_server([trouble]) as stub:
        store = s3_of(stub)
        all_fail(kind, lambda: store.get("k"), lambda: list(store.list("prefix")))
        assert len(stub.requests) == 2 * ATTEMPTS


def test_silence_is_a_timeout():
    with stub_server([SILENCE]) as stub:
        config = replace(config_of(stub, StoreRetryPolicy(attempts=1)), read_timeout_s=0.05)
        store, table = S3ObjectStore(config, "bucket"), DynamoTable(config, "table")
        asks = (
            lambda: store.get("k"),
            lambda: list(store.list("prefix")),
            lambda: table.get("p", "s"),
        )
        all_fail(UpstreamTimeoutError, *asks)


def test_a_create_whose_answer_was_lost_says_that_it_lost():
    """The first request is carried out but answered 500; the second meets its own object."""
    met_itself = Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
    with stub_server([BROKEN, met_itself]) as stub:
        with pytest.raises(PreconditionFailedError):
            s3_of(stub).put("k", b"x", Create())
        assert [request.headers["if-none-match"] for request in stub.requests] == ["*", "*"]


def deleted(*failed: tuple[str, str]) -> Answer:
    """Return what S3 answers to a request to delete many, with the keys that failed and why."""
    errors = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key, code in failed)
    return Answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())


def asked_to_delete(stub: StubServer) -> list[list[str]]:
    return [re.findall("<Key>(.*?)</Key>", request.body.decode()) for request in stub.requests]


def test_only_the_keys_that_failed_are_deleted_again():
    """Seen to fail where the answer's errors are not looked at: the objects stay, unnoticed."""
    some = deleted(("b", "SlowDown"), ("d", "InternalError"))
    with stub_server([SLOW_DOWN, some, deleted(("d", "SlowDown")), deleted()]) as stub:
        s3_of(stub).delete_many(["a", "b", "c", "d"])
        assert asked_to_delete(stub) == [["a", "b", "c", "d"]] * 2 + [["b", "d"], ["d"]]


@pytest.mark.parametrize(("code", "kind", "requests"), [
    ("AccessDenied", UpstreamError, 2), ("SlowDown", UpstreamThrottledError, 1 + ATTEMPTS),
])  # fmt: skip
def test_keys_that_cannot_be_deleted_are_one_error_that_names_the_first(code, kind, requests):
    keys = [f"{number:04d}" for number in range(MAX_DELETED + 2)]
    failed = [(keys[-1], code), (keys[-2], code)]
    with stub_server([deleted(), deleted(*failed)]) as stub:
        with pytest.raises(kind, match=keys[-2]) as failure:
            s3_of(stub).delete_many(keys)
        assert type(failure.value) is kind
        assert len(stub.requests) == requests


def test_nothing_to_delete_is_no_request():
    with stub_server([BROKEN]) as stub:
        s3_of(stub).delete_many([])
        assert not stub.requests


@pytest.mark.parametrize("status", [404, 409, 412])
def test_s3_says_in_three_ways_that_a_replacement_lost(status):
    with stub_server([Answer(status)]) as stub, pytest.raises(PreconditionFailedError):
        s3_of(stub).put("k", b"x", Replace('"e1"'))


def test_a_missing_bucket_does_not_read_as_a_missing_object():
    """Else a wrong name in the settings would read as a volume of zeros."""
    with stub_server([Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")]) as stub:
        store = s3_of(stub)
        all_fail(
            UpstreamError,
            lambda: store.get("k"),
            lambda: store.get("k", Range(0, 4)),
            lambda: store.put("k", b"x", Replace('"e1"')),
            lambda: list(store.list("")),
        )


@pytest.mark.parametrize("byte_range", [Range(0, 4), Suffix(2)], ids=str)
@pytest.mark.parametrize("refusal", [Answer(416), STORED], ids=["416", "whole"])
def test_a_refused_range_of_an_object_with_bytes_does_not_read_as_empty(refusal, byte_range):
    """The object was replaced in between, or the server knows no ranges."""
    with stub_server([refusal, STORED]) as stub, pytest.raises(UpstreamError):
        s3_of(stub).get("k", byte_range)


@pytest.mark.parametrize(("own", "key", "token"), [
    (("key", "secret"), "key", None), ((), "environment-key", "environment-token"),
], ids=["config", "environment"])  # fmt: skip
def test_keys_and_token_are_of_the_config_or_of_the_environment_not_mixed(
    monkeypatch, own, key, token
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "environment-token")
    with stub_server([STORED]) as stub:
        S3ObjectStore(AwsConfig("us-east-1", stub.endpoint, *own, retry=FAST), "bucket").get("k")
        (request,) = stub.requests
    assert f"Credential={key}/" in request.headers["authorization"]
    assert request.headers.get("x-amz-security-token") == token


def test_an_endpoint_needs_keys_of_its_own(monkeypatch):
    with pytest.raises(InvalidArgumentError):
        AwsConfig(access_key_id="key")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InvalidArgumentError):
        AwsConfig(endpoint_url="http://127.0.0.1:9")


def test_a_second_client_parses_no_description_of_its_service_again(monkeypatch):
    parsed: list[str] = []
    load = JSONFileLoader.load_file

    def noting(loader: JSONFileLoader, path: str) -> object:
        if (found := load(loader, path)) is not None:
            parsed.append(path)
        return found

    config = AwsConfig(endpoint_url="http://127.0.0.1:9")
    make_client(config, "sqs")
    monkeypatch.setattr(JSONFileLoader, "load_file", noting)
    make_client(config, "sqs")
    assert parsed == []


def test_secrets_are_not_in_the_representation():
    config = AwsConfig(access_key_id="key", secret_access_key="hush", session_token="hush")
    assert "hush" not in repr(config)


def test_keys_that_would_be_sent_as_others_are_refused():
    with stub_server([STORED]) as stub:
        store = s3_of(stub)
        asks: list[Callable[[str], object]] = [
            store.get,
            store.delete,
            lambda key: store.put(key, b"x", Create()),
            lambda key: store.presign("get", key, 60),
        ]
        odd = ["", "/a", "a/", "a//b", "a/./b", "../a", "a\nb", "a\x00b", "x" * 1025, "é" * 513]
        for key, ask in product(odd, asks):
            with pytest.raises(InvalidArgumentError):
                ask(key)
        assert not stub.requests


# --- DynamoDB ------------------------------------------------------------------------------

THROTTLED = json_answer({"__type": "x#ProvisionedThroughputExceededException"}, 400)
CONFLICT = json_answer({
    "__type": "x#TransactionCanceledException",
    "CancellationReasons": [{"Code": "TransactionConflict"}],
}, 400)  # fmt: skip


def item_of(sk: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": "p"}, "sk": {"S": sk}, "version": {"N": "1"}}


def read_of(*sks: str, left: tuple[str, ...] = ()) -> Answer:
    keys = [{"pk": {"S": "p"}, "sk": {"S": sk}} for sk in left]
    unprocessed = {"table": {"Keys": keys}} if left else {}
    found = {"table": [item_of(sk) for sk in sks]}
    return json_answer({"Responses": found, "UnprocessedKeys": unprocessed})


def batch_of(taken: str, *failed: str, refused_with: str = "") -> Answer:
    error = {"Code": refused_with or "InternalError", "SenderFault": bool(refused_with)}
    return json_answer({
        "Successful": [{"Id": id_, "MessageId": id_} for id_ in taken],
        "Failed": [{"Id": id_, **error} for id_ in failed],
    })  # fmt: skip


def queue_of(stub: StubServer) -> SqsQueue:
    return SqsQueue(config_of(stub), f"{stub.endpoint}/123456789012/queue")


def test_throttled_rows_are_asked_for_again():
    with stub_server([THROTTLED, THROTTLED, json_answer({"Item": item_of("s")})]) as stub:
        assert table_of(stub).get("p", "s") == Row("p", "s", version=1)
        assert len(stub.requests) == 3


def test_dynamodb_is_given_up_in_the_end():
    with stub_server([THROTTLED]) as stub:
        table = table_of(stub)
        asks = (
            lambda: table.get("p", "s"),
            lambda: table.query("p"),
            lambda: table.put(Row("p", "s")),
        )
        all_fail(UpstreamThrottledError, *asks)
        assert len(stub.requests) == 3 * ATTEMPTS


def test_rows_are_read_strongly_consistent():
    """moto always does. Seen to fail without ``ConsistentRead`` in any of the three."""
    page = json_answer({"Items": [], "Count": 0, "ScannedCount": 0})
    with stub_server([json_answer({}), read_of(), page]) as stub:
        table = table_of(stub)
        table.get("p", "a")
        table.batch_get([("p", "a")])
        table.query("p")
        item, batch, query = bodies_of(stub)
    reads = (item, batch["RequestItems"]["table"], query)
    assert all(read["ConsistentRead"] is True for read in reads)


def test_keys_that_were_not_processed_are_asked_for_again():
    answers = [read_of("a", left=("b", "c")), read_of(left=("b", "c")), read_of("b", "c")]
    with stub_server(answers) as stub:
        found = table_of(stub).batch_get([("p", sk) for sk in "abcd"])
        assert sorted(sk for _, sk in found) == ["a", "b", "c"]
        asked = [body["RequestItems"]["table"]["Keys"] for body in bodies_of(stub)]
    assert ["".join(key["sk"]["S"] for key in keys) for keys in asked] == ["abcd", "bc", "bc"]


@pytest.mark.parametrize(("answer", "ask", "kind", "attempts"), [
    (read_of(left=("a",)), lambda stub: table_of(stub).batch_get([("p", "a")]),
     UpstreamThrottledError, ATTEMPTS),
    (CONFLICT, lambda stub: table_of(stub).transact([Put(Row("p", "s"))]),
     WriteContentionError, ATTEMPTS),
    (batch_of("", "0"), lambda stub: queue_of(stub).send(["a"]), UpstreamThrottledError, ATTEMPTS),
    (batch_of("", "0", refused_with="InvalidMessageContents"),
     lambda stub: queue_of(stub).send(["a"]), UpstreamError, 1),
], ids=["keys never processed", "transaction never through", "never sent", "refused"])  # fmt: skip
def test_what_never_gets_through_is_given_up_and_what_is_refused_not_sent_again(
    answer, ask, kind, attempts
):
    with stub_server([answer]) as stub:
        with pytest.raises(kind):
            ask(stub)
        assert len(stub.requests) == attempts


def test_a_batch_is_given_up_with_its_first_error():
    """Seen to fail when all tasks of a batch were begun, whatever became of the first."""
    with stub_server([json_answer({}, 500)]) as stub:
        table = DynamoTable(config_of(stub, StoreRetryPolicy(attempts=1)), "table")
        with pytest.raises(UpstreamError):
            table.batch_add_members({("p", f"{number}"): {1} for number in range(400)})
        sent = len(stub.requests)
        assert 1 <= sent <= 64
        with pytest.raises(UpstreamError):  # and nothing of the batch comes after it
            table.get("p", "a")
        assert len(stub.requests) == sent + 1


def test_expressions_over_4_kib_are_not_sent():
    """moto takes them. Seen to fail without ``check_expressions``."""
    with stub_server([json_answer({})]) as stub:
        requests = DynamoRequests(config_of(stub), "table", lambda: 0)
        few, many = ([Path(f"a{n}").add(Value({"N": "1"})) for n in range(c)] for c in (100, 400))
        requests.write("UpdateItem", lambda: requests.request("p", "s", few))
        with pytest.raises(InvalidArgumentError):
            requests.write("UpdateItem", lambda: requests.request("p", "s", many))
        assert len(stub.requests) == 1


def test_a_transaction_in_the_way_of_another_is_sent_again_as_the_same():
    with stub_server([CONFLICT, CONFLICT, json_answer({})]) as stub:
        table_of(stub).transact([Put(Row("p", "s"))])
        tokens = [body["ClientRequestToken"] for body in bodies_of(stub)]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1


@pytest.mark.parametrize(("pk", "sk"), [("p" * 2049, "s"), ("p", "s" * 1025), ("", "s")])
def test_keys_over_the_limits_of_dynamodb_are_not_sent(pk, sk):
    with stub_server([json_answer({})]) as stub:
        table = table_of(stub)
        for ask in (table.get, table.delete, lambda pk, sk: table.increment(pk, sk, "n")):
            with pytest.raises(InvalidArgumentError):
                ask(pk, sk)
        assert not stub.requests


# --- SQS -----------------------------------------------------------------------------------


def test_messages_that_sqs_did_not_take_are_sent_again():
    with stub_server([batch_of("02", "1"), batch_of("1")]) as stub:
        queue_of(stub).send(["a", "b", "c"])
        sent = [body["Entries"] for body in bodies_of(stub)]
    assert [[each["MessageBody"] for each in batch] for batch in sent] == [["a", "b", "c"], ["b"]]


def test_delays_are_cut_to_what_sqs_knows():
    with stub_server([batch_of("0"), json_answer({}), json_answer({})]) as stub:
        queue = queue_of(stub)
        queue.send(["a"], delay_s=86_400)
        queue.retry_later("receipt", 86_400)
        queue.receive(visibility_s=86_400)
        send, change, receive = bodies_of(stub)
    assert send["Entries"][0]["DelaySeconds"] == 900
    assert change["VisibilityTimeout"] == receive["VisibilityTimeout"] == 43_200


def test_a_queue_that_is_polled_waits_for_messages():
    """Seen to fail where it never waits: an idle server asks six times a second."""
    with stub_server([json_answer({}), json_answer({})]) as stub:
        url = f"{stub.endpoint}/123456789012/queue"
        for wait_s in (0, 15):
            SqsQueue(config_of(stub), url, wait_s=wait_s).receive()
        assert [body["WaitTimeSeconds"] for body in bodies_of(stub)] == [0, 15]


# --- pauses --------------------------------------------------------------------------------


def test_pauses_are_drawn_from_growing_ranges_with_a_cap():
    pauses: list[float] = []
    retry = StoreRetryPolicy(
        attempts=8, base_s=1, cap_s=10, sleep=pauses.append, random=lambda: 0.5
    )
    with stub_server([THROTTLED]) as stub, pytest.raises(UpstreamThrottledError):
        DynamoTable(config_of(stub, retry), "table").get("p", "s")
    assert pauses == [1, 2, 4, 5, 5, 5, 5]


def test_no_test_reaches_the_real_aws():
    """obstore's sockets are not Python's, so an endpoint of nobody is in the environment."""
    store = S3ObjectStore(AwsConfig(retry=FAST), "a-bucket")
    with pytest.raises(UpstreamError):
        store.get("k")
    url = store.presign("get", "k", 60)
    assert url is not None
    assert urllib.parse.urlsplit(url).hostname == "127.0.0.1"

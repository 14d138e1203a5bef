"""Messages in SQS."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final

from ndlambda.errors import UpstreamError
from ndlambda.stores.aws.errors import AWS_ERRORS, error_code, meaning_of, translate
from ndlambda.stores.aws.session import AwsConfig, make_client
from ndlambda.stores.limits import check_bodies
from ndlambda.stores.ports import Message

BATCH: Final = 10
"""Entries of one SQS request or answer."""

MAX_DELAY_S: Final = 900
MAX_VISIBILITY_S: Final = 43_200
_PEEK_VISIBILITY_S: Final = 30

_OUTDATED: Final = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",  # SQS's error for the receipt of a deleted message
        "AWS.SimpleQueueService.MessageNotInflight",
        "MessageNotInflight",
    }
)
"""Codes of an outdated receipt."""


class SqsQueue:
    """A ``Queue`` in SQS with a dead-letter queue.

    Parameters
    ----------
    config
        The AWS account.
    queue, dead_letters
        Names or URLs; the default of the second is ``<queue>-dead``.
    wait_s
        How long ``receive`` waits for a message, at most 20: for hosts that poll.
    dead_letter_wait_s
        How long reading dead letters waits until SQS has asked all its servers; 0 may miss some.
    """

    def __init__(
        self,
        config: AwsConfig,
        queue: str,
        dead_letters: str | None = None,
        *,
        wait_s: int = 0,
        dead_letter_wait_s: int = 1,
    ) -> None:
        self._config = config
        self._queue = queue
        self._dead_letters = dead_letters or dead_letter_name(queue)
        self._wait_s = wait_s
        self._dead_letter_wait_s = dead_letter_wait_s

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Send messages, ten in each request.

        SQS delays by at most 15 minutes; longer delays are clipped, since early wake-ups are
        harmless.
        """
        check_bodies(bodies)
        delay = {"DelaySeconds": min(delay_s, MAX_DELAY_S)}
        entries = [{"MessageBody": body} | delay for body in bodies]
        self._in_batches(
            "SendMessageBatch", self._client.send_message_batch, self._queue_url, entries
        )

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Receive up to ``limit`` (at most 10) visible messages.

        Without a wait SQS asks only some of its servers, so it may return none though there are
        some.
        """
        return self._receive(self._queue_url, min(limit, BATCH), visibility_s, self._wait_s)

    def ack(self, receipts: Sequence[str]) -> None:
        """Remove messages; unknown or outdated receipts are no error."""
        self._delete(self._queue_url, receipts)

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Make a received message visible again after the delay (at most 12 hours).

        An outdated receipt is no error: its message is visible, or another worker has it.
        """
        self._change_visibility(self._queue_url, receipt, delay_s)

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Return dead letters, which are hidden from others for that moment."""
        found: list[Message] = []
        while len(found) < limit and (more := self._take_dead_letters(limit - len(found))):
            found += more
        for message in found:
            self._change_visibility(self._dead_letter_url, message.receipt, 0)
        return found

    def redrive(self) -> int:
        """Send all dead letters back, return their number; a crash may leave ten in both queues."""
        count = 0
        while found := self._take_dead_letters(BATCH):
            self.send([message.body for message in found])
            self._delete(self._dead_letter_url, [message.receipt for message in found])
            count += len(found)
        return count

    def _take_dead_letters(self, limit: int) -> Sequence[Message]:
        return self._receive(
            self._dead_letter_url, min(limit, BATCH), _PEEK_VISIBILITY_S, self._dead_letter_wait_s
        )

    def _receive(self, url: str, limit: int, visibility_s: int, wait_s: int) -> Sequence[Message]:
        answer = self._config.retry.run(
            "ReceiveMessage",
            lambda: self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                VisibilityTimeout=min(visibility_s, MAX_VISIBILITY_S),
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            ),
        )
        return [
            Message(
                id=found["MessageId"],
                receipt=found["ReceiptHandle"],
                body=found["Body"],
                receive_count=int(found["Attributes"]["ApproximateReceiveCount"]),
            )
            for found in answer.get("Messages", ())
        ]

    def _delete(self, url: str, receipts: Sequence[str]) -> None:
        entries = [{"ReceiptHandle": receipt} for receipt in receipts]
        self._in_batches("DeleteMessageBatch", self._client.delete_message_batch, url, entries)

    def _change_visibility(self, url: str, receipt: str, delay_s: int) -> None:
        def change() -> None:
            try:
                self._client.change_message_visibility(
                    QueueUrl=url,
                    ReceiptHandle=receipt,
                    VisibilityTimeout=min(delay_s, MAX_VISIBILITY_S),
                )
            except self._client.exceptions.ClientError as error:
                if error_code(error) not in _OUTDATED:
                    raise

        self._config.retry.run("ChangeMessageVisibility", change)

    def _in_batches(
        self,
        operation: str,
        send: Callable[..., Any],
        url: str,
        entries: Sequence[Mapping[str, Any]],
    ) -> None:
        """Send entries, ten in each request, with retries of entries whose failure is transient."""
        retry = self._config.retry

        def send_batch(batch: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            answer = retry.run(operation, partial(send, QueueUrl=url, Entries=batch))
            failed = {entry["Id"] for entry in answer.get("Failed", ()) if _is_retryable(entry)}
            return [entry for entry in batch if entry["Id"] in failed]

        numbered: list[Mapping[str, Any]] = [
            {"Id": str(number), **entry} for number, entry in enumerate(entries)
        ]
        retry.run_batches(operation, numbered, BATCH, send_batch)

    @cached_property
    def _client(self) -> Any:
        return make_client(self._config, "sqs")

    @cached_property
    def _queue_url(self) -> str:
        return self._url_of(self._queue)

    @cached_property
    def _dead_letter_url(self) -> str:
        return self._url_of(self._dead_letters)

    def _url_of(self, queue: str) -> str:
        if "://" in queue:
            return queue
        answer = self._config.retry.run(
            f"GetQueueUrl {queue}", lambda: self._client.get_queue_url(QueueName=queue)
        )
        return str(answer["QueueUrl"])


def dead_letter_name(queue: str) -> str:
    """Return the name (or URL) of a queue's dead-letter queue."""
    return f"{queue}-dead"


def create_queue(config: AwsConfig, name: str, max_receives: int = 5) -> None:
    """Create a queue and its dead-letter queue for local use; no error if they exist."""
    client = make_client(config, "sqs")
    try:
        dead = client.create_queue(QueueName=dead_letter_name(name))["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": max_receives,
        }
        client.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
    except AWS_ERRORS as error:
        raise translate(error, f"CreateQueue {name}").error from error


def _is_retryable(failed: Mapping[str, Any]) -> bool:
    """Return whether a failed entry must be sent again.

    Raises
    ------
    UpstreamError
        SQS refuses the entry permanently.
    """
    if failed["Code"] in _OUTDATED:
        return False
    if failed["SenderFault"] and not meaning_of(failed["Code"]).is_transient:
        raise UpstreamError(f"SQS refuses an entry with {failed['Code']}.", code=failed["Code"])
    return True

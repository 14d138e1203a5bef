"""Configures a bucket's notifications to a queue."""

import json

from ndlambda.stores.aws.errors import AWS_ERRORS, translate
from ndlambda.stores.aws.session import AwsConfig, make_client


def notify_queue(config: AwsConfig, bucket: str, queue: str, prefix: str) -> None:
    """Make a bucket send a message to a queue for every object created under a prefix.

    Replaces the bucket's other notifications. The queue accepts messages of this bucket only.
    """
    s3, sqs = make_client(config, "s3"), make_client(config, "sqs")
    try:
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = found["Attributes"]["QueueArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "s3.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}},
                }
            ],
        }
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": arn,
                        "Events": ["s3:ObjectCreated:*"],
                        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
                    }
                ]
            },
        )
    except AWS_ERRORS as error:
        raise translate(error, f"NOTIFY {queue}").error from error

"""The ports on AWS: objects on S3, rows in DynamoDB, messages in SQS.

This imports pynamodb, botocore and obstore, so ``runtime`` imports it only for AWS.
"""

from ndlambda.stores.aws.notifications import notify_queue
from ndlambda.stores.aws.objects import S3ObjectStore, create_bucket
from ndlambda.stores.aws.queue import SqsQueue, create_queue
from ndlambda.stores.aws.retry import StoreRetryPolicy
from ndlambda.stores.aws.session import AwsConfig
from ndlambda.stores.aws.table import DynamoTable, create_table

__all__ = [
    "AwsConfig",
    "DynamoTable",
    "S3ObjectStore",
    "SqsQueue",
    "StoreRetryPolicy",
    "create_bucket",
    "create_queue",
    "create_table",
    "notify_queue",
]

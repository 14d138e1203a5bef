"""Makes the AWS clients."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from ndlambda.errors import InvalidArgumentError
from ndlambda.stores.aws.retry import StoreRetryPolicy

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential, S3Store
    from pynamodb.connection import Connection

FALLBACK_REGION = "us-east-1"
_KEY_VARIABLE = "AWS_ACCESS_KEY_ID"
TRANSFER_TIMEOUT_S = 300
"""For a whole object; a single read has ``read_timeout_s``."""


def _region_of_environment() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or FALLBACK_REGION


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """The endpoint, region and credentials of AWS.

    Without keys the standard chain is used: environment, then profile or role. A custom endpoint
    (moto, SeaweedFS) uses keys from here or from the environment only, so that the instance
    metadata service is not asked and no key of a profile is sent to the endpoint.

    Parameters
    ----------
    region
        By default from ``AWS_REGION`` or ``AWS_DEFAULT_REGION``.
    endpoint_url
        None is AWS itself.
    access_key_id, secret_access_key, session_token
        Keys; the first two go together.
    connect_timeout_s, read_timeout_s
        Timeouts of a connection, and of each read of an answer.
    max_connections
        Connections that a boto3 client keeps.
    retry
        Attempts, and the pauses between them.

    Raises
    ------
    InvalidArgumentError
        One key is given without the other, or an endpoint without keys.
    """

    region: str = field(default_factory=_region_of_environment)
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    max_connections: int = 64
    retry: StoreRetryPolicy = field(default_factory=StoreRetryPolicy)

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise InvalidArgumentError("An access key goes with its secret; give both or neither.")
        has_keys = self.access_key_id is not None or _KEY_VARIABLE in os.environ
        if self.endpoint_url is not None and not has_keys:
            raise InvalidArgumentError(
                f"An endpoint of your own needs keys: give them or set {_KEY_VARIABLE}."
            )


def make_client(config: AwsConfig, service: str) -> Any:
    """Make a boto3 client (``s3``, ``sqs``, ``dynamodb``); it may be shared by threads.

    It does not retry: callers go through ``config.retry``.
    """
    import boto3.session
    import botocore.config
    import botocore.session

    core = botocore.session.get_session()
    # Parsing dates, which are not used, took two thirds of the CPU of a listing.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    loader = _data_loader()
    core.register_component("data_loader", loader)
    session = boto3.session.Session(
        botocore_session=core,
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        aws_session_token=config.session_token,
        region_name=config.region,
    )
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session appends boto3's
    return session.client(
        service,
        endpoint_url=config.endpoint_url,
        config=botocore.config.Config(
            connect_timeout=config.connect_timeout_s,
            read_timeout=config.read_timeout_s,
            max_pool_connections=config.max_connections,
            retries={"total_max_attempts": 1, "mode": "standard"},
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "auto" if config.endpoint_url is None else "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@cache
def _data_loader() -> Any:
    """Return botocore's loader of service descriptions, shared so that each is parsed once.

    To parse them takes most of the time of making a client.
    """
    import botocore.session

    return botocore.session.get_session().get_component("data_loader")


def make_connection(config: AwsConfig, table_name: str) -> "Connection":
    """Make a pynamodb connection that knows one table; it may be shared by threads.

    It does not retry: callers go through ``config.retry``.
    """
    from pynamodb.connection import Connection

    from ndlambda.stores.aws.items import meta_table

    connection = Connection(
        region=config.region,
        host=config.endpoint_url,
        connect_timeout_seconds=config.connect_timeout_s,
        read_timeout_seconds=config.read_timeout_s,
        retry_configuration={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=config.max_connections,
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        aws_session_token=config.session_token,
    )
    connection.add_meta_table(meta_table(table_name))
    connection.session.register_component("data_loader", _data_loader())
    # Made now, or each of the first threads would make one of its own.
    _ = connection.client
    return connection


def make_s3_store(config: AwsConfig, bucket: str) -> "S3Store":
    """Make an obstore client of one bucket; it may be shared by threads.

    It retries by itself, with the pauses of ``config.retry``.
    """
    from obstore.store import S3Store

    client_options: ClientConfig = {
        "allow_http": (config.endpoint_url or "").startswith("http:"),
        "connect_timeout": timedelta(seconds=config.connect_timeout_s),
        "read_timeout": timedelta(seconds=config.read_timeout_s),
        "timeout": timedelta(seconds=TRANSFER_TIMEOUT_S),
    }
    retry_config: RetryConfig = {
        "max_retries": config.retry.attempts - 1,
        "backoff": {
            "init_backoff": timedelta(seconds=config.retry.base_s),
            "max_backoff": timedelta(seconds=config.retry.cap_s),
            "base": 2,
        },
        "retry_timeout": timedelta(seconds=TRANSFER_TIMEOUT_S / 2),
    }
    options: dict[str, Any] = {
        "region": config.region,
        "client_options": client_options,
        "retry_config": retry_config,
        # A plain DELETE needs no XML body and no parsing of an answer.
        "disable_bulk_delete": True,
        # A bucket with a dot in its name has no valid TLS name of its own.
        "virtual_hosted_style_request": config.endpoint_url is None and "." not in bucket,
        "credential_provider": _credential_provider(config),
    }
    if config.endpoint_url is not None:
        # Both, because the second, which may be set in the environment, takes precedence.
        options |= {"endpoint": config.endpoint_url, "aws_endpoint_url_s3": config.endpoint_url}
    return S3Store(bucket, **options)


def _credential_provider(config: AwsConfig) -> Any:
    """Return obstore's credential provider; None lets it read the environment.

    obstore combines passed keys with a session token of the environment, so even fixed keys are
    passed by a function. It does not read profiles; boto3 does.
    """
    if config.access_key_id is not None and config.secret_access_key is not None:
        fixed: S3Credential = {
            "access_key_id": config.access_key_id,
            "secret_access_key": config.secret_access_key,
            "token": config.session_token,
            "expires_at": None,
        }
        return lambda: fixed
    if _KEY_VARIABLE in os.environ:
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider()

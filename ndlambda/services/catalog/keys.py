"""Defines the rows of the catalogue.

========================  ===============  ========================================================
pk                        sk               row
========================  ===============  ========================================================
``dataset#D``             ``dataset``      the dataset
``dataset#D``             ``project#P``    owner, public: lists the projects of a dataset
``project#P``             ``project``      the project
``project#P``             ``channel#C``    the channel
``project#P``             ``token#T``      empty: lists the tokens of a project
``token#T``               ``token``        the token
``datasets``              ``D``            owner, public: lists all datasets
``tokens``                ``T``            owner, public: lists all tokens
``counter``               ``channel``      the last channel id
========================  ===============  ========================================================

A row that lists another is written and deleted in the same transaction as that other row.
Names contain no ``#``, so keys cannot collide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ndlambda.model import fields
from ndlambda.model.catalog import Channel, Dataset, Project, Token
from ndlambda.model.principal import Principal
from ndlambda.services.support.paging import Key
from ndlambda.stores.ports import Row

DATASETS = "datasets"
TOKENS = "tokens"
CHANNEL_IDS: Key = ("counter", "channel")

_FORMAT = 1


def dataset_key(name: str) -> Key:
    """Return the key of a dataset."""
    return f"dataset#{name}", "dataset"


def project_key(name: str) -> Key:
    """Return the key of a project."""
    return f"project#{name}", "project"


def channel_key(project: str, name: str) -> Key:
    """Return the key of a channel."""
    return f"project#{project}", f"channel#{name}"


def token_key(name: str) -> Key:
    """Return the key of a token."""
    return f"token#{name}", "token"


def project_and_channels(project: str) -> tuple[str, str, str]:
    """Return the partition and the first and last sort key of a project and its channels."""
    return f"project#{project}", "channel#", "project"


def project_of_dataset_key(dataset: str, project: str) -> Key:
    """Return the key of the row that lists a project under its dataset."""
    return f"dataset#{dataset}", f"project#{project}"


def token_of_project_key(project: str, token: str) -> Key:
    """Return the key of the row that lists a token under its project."""
    return f"project#{project}", f"token#{token}"


def name_of_child(row: Row) -> str:
    """Return the name in the sort key of a child's row."""
    return row.sk.partition("#")[2]


def dataset_row(dataset: Dataset, uid: str) -> Row:
    """Return the row of a new dataset."""
    return _row(dataset_key(dataset.name), fields.dataset_fields(dataset), uid)


def project_row(project: Project, uid: str, dataset_uid: str) -> Row:
    """Return the row of a new project."""
    row = _row(project_key(project.name), fields.project_fields(project), uid)
    return replace(row, doc={**row.doc, "dataset_uid": dataset_uid})


def is_of(project: Row, dataset: Row) -> bool:
    """Return whether a project is known to be of this very dataset; older rows do not say."""
    return project.doc.get("dataset_uid") == uid_of(dataset)


def channel_row(channel: Channel) -> Row:
    """Return the row of a channel."""
    key = channel_key(channel.project, channel.name)
    return _row(key, fields.channel_doc(channel), channel.uid)


def token_row(token: Token) -> Row:
    """Return the row of a token."""
    return _row(token_key(token.name), fields.token_fields(token), "")


def to_dataset(row: Row) -> Dataset:
    """Return the dataset of its row."""
    return fields.dataset_from_doc(row.doc["fields"])


def to_project(row: Row) -> Project:
    """Return the project of its row."""
    return fields.project_from_doc(row.doc["fields"])


def to_channel(row: Row) -> Channel:
    """Return the channel of its row."""
    return fields.channel_from_doc(row.doc["fields"])


def to_token(row: Row) -> Token:
    """Return the token of its row."""
    return fields.token_from_doc(row.doc["fields"])


def uid_of(row: Row) -> str:
    """Return the id that distinguishes a thing from a later one of the same name."""
    return str(row.doc["uid"])


def owner_of(row: Row) -> int:
    """Return the id of the owner in the row of a dataset or project."""
    return to_dataset(row).user_id if row.sk == "dataset" else to_project(row).user_id


def is_deleting(row: Row) -> bool:
    """Return whether a dataset or project is being deleted, and so reads as not found."""
    return bool(row.doc.get("deleting", False))


def marked_deleting(row: Row) -> Row:
    """Return the row of a dataset or project with the mark of deletion."""
    return replace(row, doc={**row.doc, "deleting": True})


def _row(key: Key, doc: Mapping[str, Any], uid: str) -> Row:
    return Row(*key, doc={"v": _FORMAT, "uid": uid, "fields": dict(doc)})


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list of datasets, projects or tokens."""

    name: str
    user_id: int
    public: bool
    deleting: bool = False

    def row(self, key: Key) -> Row:
        """Return the row of this line."""
        doc: dict[str, Any] = {"user": self.user_id, "public": self.public}
        return Row(*key, doc={**doc, "deleting": True} if self.deleting else doc)

    def is_visible_to(self, principal: Principal) -> bool:
        """Return whether a principal may see the thing."""
        return self.public or principal.superuser or self.user_id == principal.user_id

    @classmethod
    def of(cls, value: Dataset | Project | Token, *, deleting: bool = False) -> "Listed":
        """Return the line of a thing."""
        return cls(value.name, value.user_id, value.public, deleting)

    @classmethod
    def from_row(cls, row: Row) -> "Listed":
        """Return the line of a row; the name is the sort key, or its part after a ``#``."""
        name = row.sk.rpartition("#")[2]
        doc = row.doc
        return cls(name, doc["user"], doc["public"], doc.get("deleting", False))

"""The ports on one machine: files and SQLite under one folder, safe against kill -9."""

from ndlambda.stores.disk.aside import AsideFolder
from ndlambda.stores.disk.dropped import DroppedFiles
from ndlambda.stores.disk.identity import check_same_stores
from ndlambda.stores.disk.objects import DiskObjectStore
from ndlambda.stores.disk.queue import SqliteQueue, release_received
from ndlambda.stores.disk.table import SqliteTable

__all__ = [
    "AsideFolder",
    "DiskObjectStore",
    "DroppedFiles",
    "SqliteQueue",
    "SqliteTable",
    "check_same_stores",
    "release_received",
]

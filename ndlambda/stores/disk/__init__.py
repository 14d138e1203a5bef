"""The ports on one machine: files and SQLite under one folder, safe against kill -9."""

from ndlambda.stores.disk.aside import AsideFolder
from ndlambda.stores.disk.dropped import DroppedFiles
from ndlambda.stores.disk.objects import DiskObjectStore
from ndlambda.stores.disk.queue import SqliteQueue, release_received
from ndlambda.stores.disk.start import check_data_folder
from ndlambda.stores.disk.table import SqliteTable

__all__ = [
    "AsideFolder",
    "DiskObjectStore",
    "DroppedFiles",
    "SqliteQueue",
    "SqliteTable",
    "check_data_folder",
    "release_received",
]

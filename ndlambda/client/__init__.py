"""The Python client: brain volumes on a server, indexed like numpy arrays.

>>> from ndlambda.client import connect
>>> client = connect("http://127.0.0.1:8080", key="...")
>>> volume = client.volume("demo", "em")  # doctest: +SKIP
>>> plane = volume[32]  # doctest: +SKIP
>>> volume[0:16, 0:64, 0:64] = my_array  # doctest: +SKIP
"""

from ndlambda.client.blocks import Block
from ndlambda.client.client import Client, connect
from ndlambda.client.http import Answer, Request, Transport
from ndlambda.client.session import RetryPolicy
from ndlambda.client.transfer import Piece, WriteReport
from ndlambda.client.volume import Volume

__all__ = [
    "Answer",
    "Block",
    "Client",
    "Piece",
    "Request",
    "RetryPolicy",
    "Transport",
    "Volume",
    "WriteReport",
    "connect",
]

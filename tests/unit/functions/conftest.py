import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("ndlambda.worker")
    logger.disabled = True
    yield
    logger.disabled = False

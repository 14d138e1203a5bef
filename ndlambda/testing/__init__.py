"""Test support: contract suites for adapters of the ports, and stores that count requests.

Needs pytest (the extra ``testing``). No other package of ndlambda imports this one.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in (
            "batch_contract",
            "counting",
            "counts",
            "object_store_contract",
            "queue_contract",
            "table_contract",
            "transaction_contract",
        )
    )
)

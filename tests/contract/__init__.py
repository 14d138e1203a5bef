"""What every adapter of a port must do; adapters subclass the contract classes.

A new adapter gets a module ``test_<adapter>_stores.py`` here with one subclass per port that fills
in the abstract fixtures.
"""

import pytest

pytest.register_assert_rewrite(
    "tests.contract.object_store_contract",
    "tests.contract.queue_contract",
    "tests.contract.table_contract",
    "tests.contract.transaction_contract",
)

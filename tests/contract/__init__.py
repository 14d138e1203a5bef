"""Contracts run on every implementation: ports on adapters, annotation on its drivers."""

import pytest

pytest.register_assert_rewrite("tests.contract.annotations")

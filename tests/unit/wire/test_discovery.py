"""Formats by name, whatever they are formats of."""

from dataclasses import dataclass

import pytest

from ndlambda.errors import UnknownNameError
from ndlambda.wire.discovery import by_name, choose, modules


@dataclass(frozen=True)
class Form:
    name: str


def test_a_name_that_two_modules_give_is_a_mistake_of_ours():
    with pytest.raises(RuntimeError, match="volume format npz is defined twice"):
        by_name("volume format", [Form("npz"), Form("raw"), Form("npz")])


def test_an_unknown_name_is_told_shortened_with_those_known():
    with pytest.raises(UnknownNameError) as caught:
        choose("format", "x" * 1000, by_name("format", [Form("raw"), Form("npz")]))
    assert caught.value.details["known"] == ["npz", "raw"]
    assert caught.value.details["name"] == "x" * 80


def test_modules_of_sub_packages_are_found_in_order_of_their_names(tmp_path, monkeypatch):
    for name in ("__init__", "zebra", "inner/__init__", "inner/b", "inner/a", "apple"):
        path = tmp_path / "discovered" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert [module.__name__ for module in modules("discovered")] == [
        f"discovered.{name}" for name in ("apple", "inner.a", "inner.b", "zebra")
    ]


def test_every_module_of_a_folder_is_looked_at():
    names = {module.__name__ for module in modules("ndlambda.wire.graph")}
    assert "ndlambda.wire.graph.contract" in names  # it offers nothing, and does no harm
    assert "ndlambda.wire.graph.xml" in names

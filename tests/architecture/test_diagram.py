"""The diagram of ``ARCHITECTURE.md`` shows the floors and rooms of the import contracts.

Seen to fail with a room taken out of the diagram, with two floors exchanged, with a room moved to
another house, with ``|`` in place of ``:``, and with a layer added to a contract.
"""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = "floors"
CONTRACTS = {
    container.removeprefix("ndlambda."): contract["layers"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    if contract["type"] == "layers"
    for container in contract.get("containers", (FLOORS,))
}

_TEXT = re.compile(r'(\w+)\["([^"]+)"\]')
_HOUSE = re.compile(r"  subgraph (\w+)\n(.*?)\n  end\n", re.DOTALL)


def _diagram() -> str:
    (found,) = re.findall(
        r"```mermaid\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL
    )
    return str(found)


def _layers(part: str) -> list[list[str]]:
    """Return what the one line of arrows of a part leads through: by step, the texts of nodes."""
    texts = dict(_TEXT.findall(part))
    (chain,) = (line for line in part.splitlines() if "-->" in line)
    steps = [re.sub(r"\[.*?\]", "", step).split("&") for step in chain.split("-->")]
    return [[texts.get(name.strip(), name.strip()) for name in step] for step in steps]


def _names(text: str) -> frozenset[str]:
    return frozenset(re.split("[|:]", re.sub(r"[() ]|\bndlambda\.", "", text)))


def _shown() -> dict[str, list[list[str]]]:
    """Return the layers of the floors and of every house."""
    diagram = _diagram()
    houses = {house: _layers(part) for house, part in _HOUSE.findall(diagram)}
    return {FLOORS: _layers(_HOUSE.sub("", diagram)), **houses}


def test_every_contract_of_layers_is_a_part_of_the_diagram() -> None:
    assert _shown().keys() == CONTRACTS.keys()


@pytest.mark.parametrize("house", CONTRACTS)
def test_floors_and_rooms_are_those_of_the_contract_in_its_order(house: str) -> None:
    shown = [frozenset[str]().union(*map(_names, texts)) for texts in _shown()[house]]
    assert shown == [_names(layer) for layer in CONTRACTS[house]]


@pytest.mark.parametrize("house", sorted(CONTRACTS.keys() - {FLOORS}))
def test_what_is_independent_in_a_contract_is_so_in_the_diagram(house: str) -> None:
    for (text,), layer in zip(_shown()[house], CONTRACTS[house], strict=True):
        assert ("|" in text, ":" in text) == ("|" in layer, ":" in layer)


@pytest.mark.parametrize("house", sorted(CONTRACTS.keys() - {FLOORS}))
def test_every_room_has_a_row_in_a_table(house: str) -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    first_cells = " ".join(line.split("|")[1] for line in lines if line.startswith("|"))
    named = {word.split("/")[-1] for word in re.findall(r"`([\w/]+)`", first_cells)}
    named |= {word.split("/")[0] for word in re.findall(r"`([\w/]+)`", first_cells)}
    (folder,) = (path for path in (ROOT / house, ROOT / "ndlambda" / house) if path.is_dir())
    assert {path.parent.name for path in folder.glob("*/__init__.py")} <= named


def test_every_file_of_the_product_that_a_page_names_exists() -> None:
    """Seen to fail with a module renamed."""
    houses = ("", "ndlambda", "ndlambda/services", "ndlambda/web", "ingest_queue")
    roots = [ROOT / house for house in houses]
    pages = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
    pages += (ROOT / "docs" / "adr").glob("001[1-9]-*.md")
    missing = []
    for page in pages:
        for name in re.findall(
            r"`((?!tests/)[a-z_0-9]+(?:/[a-z_0-9]+)+(?:\.py)?)/?`", page.read_text()
        ):
            places = [root / suffixed for root in roots for suffixed in (name, f"{name}.py")]
            if not any(place.exists() for place in places):
                missing.append((page.name, name))
    assert missing == []

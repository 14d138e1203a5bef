"""The mutants stay up to date: what they take out is there, and so are the tests that notice."""

import ast
from collections import Counter

import pytest

from tests.mutations.mutant import ROOT, Mutant, read_mutants

MUTANTS = read_mutants()


def test_ids_of_mutants_are_unique():
    assert [each for each, count in Counter(m.id for m in MUTANTS).items() if count > 1] == []


def test_what_a_mutant_takes_out_occurs_exactly_once():
    counts = {mutant.id: mutant.occurrences(ROOT) for mutant in MUTANTS}
    assert {mutant_id: count for mutant_id, count in counts.items() if count != 1} == {}


def test_a_mutant_differs_and_is_python():
    for mutant in MUTANTS:
        assert mutant.old != mutant.new, mutant.id
        ast.parse(mutant.mutated(ROOT), mutant.id)


def test_the_tests_of_a_mutant_exist():
    missing = {
        mutant.id: mutant.tests
        for mutant in MUTANTS
        if not mutant.tests
        or not all((ROOT / test.partition("::")[0]).exists() for test in mutant.tests)
    }
    assert missing == {}


@pytest.mark.parametrize("old", ["import", "nowhere in this file, nor anywhere else"])
def test_a_text_that_does_not_occur_once_is_refused(old: str):
    mutant = Mutant("id", "it", "tests/conftest.py", old, "new", ("tests",))
    with pytest.raises(ValueError, match="exactly once"):
        mutant.mutated(ROOT)

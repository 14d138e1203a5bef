"""States of propagation are shown to people and programs as ndstore's numbers."""

import json

from ndlambda.model.propagation import PropagateState


def test_states_are_written_as_their_numbers_everywhere():
    for state in PropagateState:
        assert {str(state), f"{state}", f"{state!r}", json.dumps(state)} == {f"{state.value}"}

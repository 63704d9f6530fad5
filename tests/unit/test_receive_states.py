"""The state machine, beside the standard's table as pynetdicom has it."""

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from venturi.receive.states import TABLE, Event, State

STATES = (State.AWAITING_REQUEST, State.ESTABLISHED, State.AWAITING_CLOSE)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", Event)
def test_each_cell_is_that_of_table_9_10(event: Event, state: State) -> None:
    theirs = TRANSITION_TABLE.get((f"Evt{event.value}", f"Sta{state.value}"))
    ours = TABLE.get((event, state))
    assert (ours and ours.value) == theirs

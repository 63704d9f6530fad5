"""What a C-STORE status means for a delivery: one table (PS3.4 Table B.2-1, PS3.7 Annex C)."""

from venturi.deliver.port import Ending

RESOURCE_LIMITATION = 0x0213


def judge(status: int) -> Ending:
    """How a delivery ended with this status.

    0000 and the warnings Bxxx: the peer has it. A7xx (out of resources) and 0213: it may have it later.
    Everything else is an answer about this object or this sender, which repetition alone does not change.
    """
    if status == 0 or status & 0xF000 == 0xB000:
        return Ending.DELIVERED
    if status & 0xFF00 == 0xA700 or status == RESOURCE_LIMITATION:
        return Ending.LATER
    return Ending.REFUSED

"""Making the ledger anew from the spool, which is the truth: rows that are missing are added, none is changed."""

from itertools import islice

from venturi.ledger.port import Ledger
from venturi.spool.port import Spool

_BATCH = 500


def rebuild(ledger: Ledger, spool: Spool) -> int:
    """Record every instance of the spool that the ledger does not know; how many there were.

    What was decided of an instance is not in the spool: new rows are undecided, and are delivered (again).
    """
    added = 0
    found = spool.iterate()
    while batch := list(islice(found, _BATCH)):
        added += ledger.add(batch)
    return added

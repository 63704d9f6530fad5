"""Removes from the spool what has been delivered everywhere and kept as long as the configuration asks.

The order keeps every crash harmless: the ledger marks first, then files go, then the ledger notes that they
are gone. A crash in between leaves instances marked, which the next sweep takes up again.
"""

import time

from venturi.config.schema import Retain
from venturi.errors import VenturiError
from venturi.ledger.port import Ledger
from venturi.log import get_logger
from venturi.spool.port import Spool

log = get_logger()

AT_ONCE = 500
"""Instances removed in one sweep; the next sweep goes on."""
UNTIL_COMMITTED = "until-committed"


def sweep_once(ledger: Ledger, spool: Spool, retain: Retain, now: float | None = None) -> int:
    """Remove what may go, and forget history older than ``retain.rows_s``; how many instances were removed.

    An instance that can't be removed is logged and left to the next sweep. Raises what the ledger raises.
    """
    now = time.time() if now is None else now
    removed: list[str] = []
    committed = retain.original == UNTIL_COMMITTED
    for instance, _targets in ledger.removable(now - retain.after_s, AT_ONCE, committed=committed):
        try:
            spool.delete(instance)  # with all its renditions
        except (VenturiError, OSError) as error:
            log.error("bytes not removed; the next sweep tries again", instance=instance.id, error=str(error))
            continue
        removed.append(instance.id)
    if removed:
        ledger.gone(removed)
        log.info("bytes of delivered instances removed", instances=len(removed))
    ledger.prune(now - retain.rows_s, AT_ONCE)
    return len(removed)

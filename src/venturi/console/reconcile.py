"""Accounts for everything received: each row of the ledger has its bytes, and each object of the spool its row.

Reads only. An object that has come within the last moment, or is removed at this moment, is looked at again before it
counts: the ledger follows the spool by a little.
"""

import time

from venturi.console.port import Reconciled
from venturi.errors import Damaged
from venturi.ledger.port import Ledger
from venturi.model import Instance
from venturi.spool.port import Spool

AT_ONCE = 1000
MOMENT_S = 2.0
"""How far the ledger may be behind the spool."""


def reconcile(
    ledger: Ledger, spool: Spool, study_instance_uid: str = "", again_s: float = MOMENT_S
) -> Reconciled:
    """Count what became of each study, and look for what is in one place only. Of one study: only for its bytes."""
    missing = _missing(ledger, spool, study_instance_uid)
    unrecorded: list[str] = [] if study_instance_uid else list(spool.strays(ledger.known))
    if missing or unrecorded:
        time.sleep(again_s)
        known = ledger.known(unrecorded)
        unrecorded = [each for each in unrecorded if each not in known]
        still = {instance.id for instance in _missing(ledger, spool, study_instance_uid)}
        missing = [instance for instance in missing if instance.id in still]
    return Reconciled(ledger.studies(study_instance_uid), missing, unrecorded)


def _missing(ledger: Ledger, spool: Spool, study_instance_uid: str) -> list[Instance]:
    found: list[Instance] = []
    after = ""
    while rows := ledger.here(after, AT_ONCE, study_instance_uid):
        after = rows[-1].id
        for instance in rows:
            try:
                spool.materialise(instance)
            except (Damaged, OSError):
                found.append(instance)
    return found

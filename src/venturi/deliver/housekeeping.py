"""What must be looked after now and then, so that nothing that was acknowledged lies forgotten.

    adopt    objects of receivers that ended before they had recorded them get their rows
    strand   deliveries to a destination that the configuration no longer has are held, so that somebody sees them
    rewind   what a wrong clock has put off for years is due now

Each of them may be repeated at any time, by any number of processes.
"""

from collections.abc import Sequence

from venturi.ledger.port import Ledger
from venturi.log import get_logger
from venturi.spool.port import Spool

log = get_logger()


def adopt(ledger: Ledger, spool: Spool) -> int:
    """Record what ended receivers left in the spool; how many instances were new to the ledger."""
    new = spool.adopt(ledger.add, ledger.known)
    if new:
        log.warning("instances recorded that an ended receiver had not recorded", instances=new)
    return new


def put_right(ledger: Ledger, destinations: Sequence[str]) -> None:
    """Hold deliveries to destinations that are not among these, and rewind what a wrong clock has put off."""
    stranded = ledger.strand(destinations)
    if stranded:
        log.error("deliveries held: the configuration no longer has their destination", deliveries=stranded)
    rewound = ledger.rewind()
    if rewound:
        log.warning("times far ahead put right: a clock was wrong", rows=rewound)

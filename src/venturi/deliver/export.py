"""Copies for a person: what a delivery would hand over, or what was received, as parcels that no queue knows."""

from venturi.deliver.port import Ending, Parcel, Receipt
from venturi.errors import Damaged
from venturi.ledger.port import Job
from venturi.model import AS_RECEIVED, Instance, Outcome, Reason
from venturi.spool.port import Spool


def parcel_of(wanted: Job | Instance, spool: Spool, *, original: bool) -> Parcel | Receipt:
    """The parcel of a delivery, or of an instance without one (its number is 0); or why there is none.

    ``original``: as received, whatever was made of it. Nothing is moved or recorded, also where a file is damaged.
    """
    instance = wanted.instance if isinstance(wanted, Job) else wanted
    number = wanted.id if isinstance(wanted, Job) else 0
    envelope = instance.envelope
    outcome = Outcome(
        AS_RECEIVED, envelope.transfer_syntax, instance.size_bytes, instance.sha256, Reason.ASKED
    )
    try:
        path = rendition = spool.materialise(instance)
        if isinstance(wanted, Job) and wanted.outcome.transcoded and not original:
            outcome, rendition = wanted.outcome, spool.materialise_rendition(instance, wanted.target)
    except (Damaged, OSError) as error:
        return Receipt(number, Ending.REFUSED, "damaged", str(error))
    return Parcel(number, instance, outcome, rendition, path)

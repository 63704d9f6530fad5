"""Between the model's dataclasses and rows."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from venturi.ledger.port import Attempt, DeliveryRow, InstanceRow, State
from venturi.ledger.tables import deliveries, instances, renditions
from venturi.model import Envelope, Instance, Lossy, Outcome, Parameters, Proof, Reason, Target

Row = Mapping[Any, Any]

_ENVELOPE = (
    *("sop_class_uid", "sop_instance_uid", "transfer_syntax", "calling_ae", "called_ae"),
    *("peer", "address", "received_at"),
)

_RENDITION = (
    *("target", "transfer_syntax", "size_bytes", "sha256", "reason", "detail", "proof", "codec", "frames"),
    *("pixel_bytes_before", "pixel_bytes_after", "hold"),
)
_LOSSY = ("lossy_sop_instance_uid", "lossy_ratio", "lossy_max_error", "lossy_psnr_db")

JOB_COLUMNS = (
    *(deliveries.c[name] for name in ("id", "destination", "rule", "tries")),
    *(instances.c[name] for name in ("sha256", "size_bytes", "study_instance_uid", *_ENVELOPE)),
    instances.c.id.label("instance_id"),
    *(renditions.c[name].label(f"rendition_{name}") for name in _RENDITION),
    *(renditions.c[name] for name in _LOSSY),
)
"""What a Job is made of."""


def instance_values(instance: Instance) -> dict[str, object]:
    """Make the row of a new instance."""
    values: dict[str, object] = {name: getattr(instance.envelope, name) for name in _ENVELOPE}
    values.update(
        id=instance.id, sha256=instance.sha256, size_bytes=instance.size_bytes, state="received", held=""
    )
    values.update(conflict=False, tries=0, lease_until=0.0, config_digest="")
    values.update(study_instance_uid="", series_instance_uid="", modality="")
    return values


def to_instance(row: Row, key: str = "id") -> Instance:
    """Make the instance of a row."""
    envelope = Envelope(**{name: row[name] for name in _ENVELOPE})
    return Instance(row[key], row["sha256"], row["size_bytes"], envelope)


def target_text(target: Target) -> str:
    """Write a target as JSON."""
    return json.dumps([target.transfer_syntax, target.parameters, target.min_saving])


def to_target(text: str) -> Target:
    """Read a target from JSON: equal to what was written, with the same digest."""
    transfer_syntax, found, min_saving = json.loads(text)
    parameters: Parameters = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in found)
    return Target(transfer_syntax, parameters, min_saving)


def rendition_values(instance_id: str, outcome: Outcome, failed: bool, now: float) -> dict[str, object]:
    """Make the row of an outcome."""
    lossy = outcome.lossy
    return {
        "instance_id": instance_id,
        "digest": outcome.target.digest,
        "target": target_text(outcome.target),
        "state": "failed" if failed else "ready",
        "transfer_syntax": outcome.transfer_syntax,
        "size_bytes": outcome.size_bytes,
        "sha256": outcome.sha256,
        "reason": outcome.reason.value if outcome.reason else "",
        "detail": outcome.detail,
        "proof": outcome.proof.value,
        "codec": outcome.codec,
        "frames": outcome.frames,
        "pixel_bytes_before": outcome.pixel_bytes_before,
        "pixel_bytes_after": outcome.pixel_bytes_after,
        "made_at": now,
        "hold": outcome.hold,
        "lossy_sop_instance_uid": lossy.sop_instance_uid if lossy else None,
        "lossy_ratio": lossy.ratio if lossy else None,
        "lossy_max_error": lossy.max_error if lossy else None,
        "lossy_psnr_db": lossy.psnr_db if lossy else None,
    }


def to_lossy(row: Row) -> Lossy | None:
    """Read what was lost from a row with the columns of that name."""
    if row["lossy_sop_instance_uid"] is None:
        return None
    return Lossy(*(row[name] for name in _LOSSY))


def to_outcome(row: Row) -> Outcome:
    """Make the outcome of a row with ``JOB_COLUMNS``."""
    return Outcome(
        target=to_target(row["rendition_target"]),
        transfer_syntax=row["rendition_transfer_syntax"],
        size_bytes=row["rendition_size_bytes"],
        sha256=row["rendition_sha256"],
        reason=Reason(row["rendition_reason"]) if row["rendition_reason"] else None,
        detail=row["rendition_detail"],
        proof=Proof(row["rendition_proof"]),
        codec=row["rendition_codec"],
        frames=row["rendition_frames"],
        pixel_bytes_before=row["rendition_pixel_bytes_before"],
        pixel_bytes_after=row["rendition_pixel_bytes_after"],
        hold=row["rendition_hold"],
        lossy=to_lossy(row),
    )


def to_instance_row(row: Row) -> InstanceRow:
    """Make what lists show of an instance."""
    return InstanceRow(
        instance=to_instance(row),
        state=row["state"],
        held=row["held"],
        conflict=row["conflict"],
        modality=row["modality"],
        study_instance_uid=row["study_instance_uid"],
    )


DELIVERY_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    *(
        deliveries.c[n]
        for n in ("id", "instance_id", "destination", "rule", "state", "tries", "due_at", "status")
    ),
    *(
        instances.c[n]
        for n in ("sop_instance_uid", "sop_class_uid", "study_instance_uid", "modality", "peer")
    ),
    *(deliveries.c.detail, instances.c.received_at),
    renditions.c.transfer_syntax,
    instances.c.transfer_syntax.label("source_syntax"),
    instances.c.size_bytes.label("size_before"),
    renditions.c.size_bytes.label("size_after"),
    *(renditions.c.reason, renditions.c.proof, renditions.c.detail.label("reason_detail")),
    *(deliveries.c.sent_original, deliveries.c.instead, *(renditions.c[name] for name in _LOSSY)),
)
"""What a DeliveryRow is made of."""


def to_delivery_row(row: Row) -> DeliveryRow:
    """Make what lists show of a delivery."""
    plain = {name: value for name, value in row.items() if name not in _LOSSY}
    return DeliveryRow(**{**plain, "state": State(row["state"]), "lossy": to_lossy(row)})


def to_attempt(row: Row) -> Attempt:
    """Make the attempt of a row."""
    return Attempt(
        delivery=row["delivery_id"],
        state=State(row["state"]),
        at=row["at"],
        duration_s=row["duration_s"],
        status=row["status"],
        detail=row["detail"],
        due_at=row["due_at"],
        sent_original=row["sent_original"],
    )


def chunks(values: Iterable[str], size: int = 500) -> list[list[str]]:
    """Cut a list into pieces that fit a statement's parameters."""
    whole = list(values)
    return [whole[start : start + size] for start in range(0, len(whole), size)]

"""Why an object is not transcoded, as an exception that stays inside this room."""

from venturi.errors import Permanent
from venturi.model import Reason


class Refused(Permanent):
    """The object goes on as received. ``detail`` has figures, and nothing of the header's text."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

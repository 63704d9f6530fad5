"""P-DATA-TF PDUs taken apart as they come (PS3.8 9.3.5): presentation data values, fragments of commands and datasets.

A push parser over the association's buffer: nothing is collected here. Bytes of a dataset that lie in the buffer in
several fragments are moved together, over the headers between them, and handed on in one piece.
"""

from venturi.errors import Malformed
from venturi.receive.messages import Messages
from venturi.upper_layer.pdu import VALUE


class PData:
    """One association's."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self.left = 0
        """Bytes of the PDU that are not taken yet; whoever sets it has read the PDU's header."""
        self._value_left = 0
        self._in_value = self._of_command = self._last = False

    def take(self, view: memoryview, start: int, end: int) -> int:
        """Take what is in ``view[start:end]``, and move it about; where the rest begins: a part of a header.

        Raises Malformed.
        """
        messages = self._messages
        first = last = start
        """Where the bytes of a dataset are that were moved together."""
        while start < end and self.left:
            if not self._in_value:
                if end - start < min(VALUE.size, self.left):
                    break
                self._begin(view, start)
                start += VALUE.size
            taken = min(self._value_left, end - start)
            if self._of_command:
                messages.take_command(view[start : start + taken])
            elif first == last:
                first, last = start, start + taken
            else:
                view[last : last + taken] = view[start : start + taken]
                last += taken
            start += taken
            self._value_left -= taken
            self.left -= taken
            if self._value_left:
                break
            self._in_value = False
            if self._last and self._of_command:
                messages.end_command()
            elif self._last:
                messages.take_dataset(view[first:last])
                first = last
                messages.end_dataset()
        if first != last:
            messages.take_dataset(view[first:last])
        return start

    def _begin(self, view: memoryview, start: int) -> None:
        if self.left >= VALUE.size:
            length, context_id, control = VALUE.unpack_from(view, start)
            if 2 <= length <= self.left - 4:
                self._of_command, self._last = bool(control & 1), bool(control & 2)
                self._messages.begin_fragment(context_id, of_command=self._of_command)
                self._in_value = True
                self._value_left = length - 2
                self.left -= VALUE.size
                return
        raise Malformed("a presentation data value of a length that can't be")

"""What tests of delivering share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.delivering import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A spool and a ledger."""
    made = Node(tmp_path)
    yield made
    made.close()

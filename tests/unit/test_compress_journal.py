"""What a run notes is found by the next one; what was not noted whole is as if it had not been."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.compress.journal import NAME, Journal, Record
from venturi.compress.port import Order
from venturi.errors import ConfigError, Temporary


def order(folder: Path, digest: str = "1") -> Order:
    (folder / "in").mkdir(exist_ok=True)
    return Order(folder / "in", folder, f"--to {digest}", digest)


def test_a_record_is_found_again(tmp_path: Path) -> None:
    record = Record("a/b.dcm", 10, 20, 5, "1.2", "1.3", "", "", "pixels", "x/y")
    other = Record(os.fsdecode(b"\xff\n\x1b"), 1, 2, 1, "1.2", "1.2", "no-pixel-data", "words")
    journal = Journal(tmp_path, order(tmp_path))
    journal.add([record, other])
    journal.close()
    journal = Journal(tmp_path, order(tmp_path))
    assert journal.find(record.path) == record
    assert journal.find(other.path) == other
    assert journal.find("a") is None
    journal.close()


def test_the_last_line_for_a_path_counts_and_can_take_it_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path, order(tmp_path))
    journal.add([Record("a", 1, 1, 1), Record("b", 1, 1, 1)])
    journal.add([Record("a", 2, 2, 2), Record("b", 1, 1, -1)])
    journal.close()
    journal = Journal(tmp_path, order(tmp_path))
    assert journal.find("a") == Record("a", 2, 2, 2)
    assert journal.find("b") is None
    journal.close()


def test_records_are_found_by_their_unfinished_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, order(tmp_path))
    named = Record("a", 1, 1, 1, part="1.part")
    taken_back = Record("b", 1, 1, 1, part="2.part", replace=True)
    replaced = Record("c", 1, 1, 1, part="3.part")
    latest = replace(replaced, part="4.part")
    journal.add([named, taken_back, replaced, replace(taken_back, output_bytes=-1), latest])
    journal.close()
    journal = Journal(tmp_path, order(tmp_path))
    assert journal.records_of({"1.part", "2.part", "3.part", "5.part"}) == [named]
    assert journal.records_of({"4.part"}) == [latest]
    assert journal.records_of(set()) == []
    journal.close()


@given(st.integers(0, 1 << 16), st.binary(max_size=40))
def test_however_it_is_torn_what_is_whole_is_found_and_lines_can_be_added(cut: int, torn: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = [Record(f"file-{number}", number, number, number) for number in range(20)]
        journal = Journal(folder, order(folder))
        journal.add(records)
        journal.close()
        data = (folder / NAME).read_bytes()
        head = data.index(b"\n") + 1
        cut = head + cut % (len(data) - head + 1)
        (folder / NAME).write_bytes(data[:cut] + torn)
        whole = data[head:cut].count(b"\n")
        journal = Journal(folder, order(folder))
        found = [journal.find(record.path) for record in records]
        assert found[:whole] == records[:whole]
        journal.add([Record("new", 1, 1, 1)])
        journal.close()
        journal = Journal(folder, order(folder))
        assert journal.find("new") == Record("new", 1, 1, 1)
        assert [journal.find(record.path) for record in records[:whole]] == records[:whole]
        journal.close()


def test_a_head_that_was_torn_off_begins_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"venturi_com')
    Journal(tmp_path, order(tmp_path)).close()
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 1


def test_another_order_is_refused_with_what_was_asked_for(tmp_path: Path) -> None:
    Journal(tmp_path, order(tmp_path)).close()
    with pytest.raises(ConfigError, match="made with --to 1: choose another OUT"):
        Journal(tmp_path, order(tmp_path, "2"))
    with pytest.raises(ConfigError, match=f"made of {tmp_path}/in"):
        Journal(tmp_path, Order(tmp_path, tmp_path, "--to 1", "1"))
    (tmp_path / NAME).write_bytes(b'{"venturi_compress":99}\n')
    with pytest.raises(ConfigError, match="this version can't read"):
        Journal(tmp_path, order(tmp_path))


def test_one_run_has_it_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, order(tmp_path))
    with pytest.raises(Temporary, match="another venturi compress is at work"):
        Journal(tmp_path, order(tmp_path))
    journal.close()
    Journal(tmp_path, order(tmp_path)).close()

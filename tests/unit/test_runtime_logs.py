"""A function's output becomes the same records, however the pipe cuts it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.logs import Records
from penstock.runtime.outcomes import billed, error_type, exit_reason, report_line

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30)


def frame(message: str) -> bytes:
    body = message.encode()
    return b"\xa5\x5a\x00\x03" + len(body).to_bytes(4, "big") + bytes(8) + body


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(i, len(data)) for i in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.tuples(st.booleans(), TEXT)), st.lists(st.integers(0, 400)))
def test_records_do_not_depend_on_where_the_pipe_cuts(parts: list[tuple[bool, str]], at: list[int]) -> None:
    data = b"".join(frame(text + "\nmore") if framed else text.encode() + b"\n" for framed, text in parts)
    records = Records()
    seen = [record for piece in cut(data, at) for record in records.feed(piece)] + records.flush()
    assert seen == [text + "\nmore\n" if framed else text + "\n" for framed, text in parts]


@given(st.binary(max_size=600), st.lists(st.integers(0, 600)))
def test_any_bytes_are_read_and_none_are_waited_for_after_a_flush(data: bytes, at: list[int]) -> None:
    records = Records()
    seen = [record for piece in cut(data, at) for record in records.feed(piece)] + records.flush()
    assert all(record.endswith("\n") for record in seen)
    assert records.flush() == []
    whole = Records()
    assert seen == whole.feed(data) + whole.flush()


def test_a_line_is_cut_at_the_size_of_a_log_event() -> None:
    records = Records()
    seen = records.feed(b"x" * 600_000) + records.flush()
    assert [len(record) - 1 for record in seen] == [262_144, 262_144, 75_712]


def test_how_a_process_ended_in_awss_words() -> None:
    assert exit_reason(0) == "Runtime exited without providing a reason"
    assert exit_reason(256 * 3) == "Runtime exited with error: exit status 3"
    assert exit_reason(9) == "Runtime exited with error: signal: killed"
    assert exit_reason(11) == "Runtime exited with error: signal: segmentation fault"
    assert exit_reason(40) == "Runtime exited with error: signal: 40"


@given(st.binary(max_size=50))
def test_what_a_runtime_calls_its_error_is_never_trusted(document: bytes) -> None:
    assert "\n" not in error_type(document)
    assert error_type(b'{"errorType":"Runtime.X\\nREPORT"}') == "Runtime.X REPORT"
    assert error_type(b"[1]") == error_type(b'{"errorType":7}') == "Runtime.Unknown"


def test_the_report_line_and_what_is_billed() -> None:
    assert (billed(0.1, None), billed(1.0, None), billed(1.01, 99.0)) == (1, 1, 101)
    assert report_line("r", 1.5, 102, 128, 35, 100.0) == (
        "REPORT RequestId: r\tDuration: 1.50 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\t"
        "Init Duration: 100.00 ms\t\n"
    )

"""What is printed while objects are looked at, by several threads at once."""

from __future__ import annotations

import sys
import threading

import pytest

from nbrewind.hush import hushed


def test_threads_that_overlap_leave_the_streams_as_they_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout, sys.stderr
    inside, done = threading.Event(), threading.Event()

    def look() -> None:
        with hushed():
            print("looked at by the other")
            inside.set()
            done.wait(60)
            print("and again")

    other = threading.Thread(target=look)
    with hushed():
        print("looked at")
        other.start()
        assert inside.wait(60)
        with hushed():
            print("looked at within")
        print("still looked at")
    # The other thread is not through, and this one is heard again.
    print("heard")
    done.set()
    other.join()
    assert (sys.stdout, sys.stderr) == before
    print("heard again")
    assert capsys.readouterr().out == "heard\nheard again\n"


def test_a_stream_that_is_put_there_meanwhile_stays(capsys: pytest.CaptureFixture[str]) -> None:
    before, mine = sys.stdout, sys.stderr
    try:
        with hushed():
            sys.stdout = mine
        assert sys.stdout is mine
    finally:
        sys.stdout = before

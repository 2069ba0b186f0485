"""Real programs to measure."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

_PREFACE = """
import os, subprocess, sys, threading, time

def burn(sec):
    end = time.thread_time() + sec
    while time.thread_time() < end:
        pass
"""


class Program:
    """A Python process that does one statement at a time, when told to."""

    def __init__(self, start: str) -> None:
        loop = "\nfor line in sys.stdin:\n    exec(line.strip())\n    print('done', flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PREFACE + start + loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def tell(self, statement: str) -> None:
        """Have it begin a statement."""
        assert self.process.stdin is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()

    def wait(self) -> str:
        """What it printed until the statement was done."""
        assert self.process.stdout is not None
        printed = []
        while (line := self.process.stdout.readline()) != "done\n":
            assert line, "the program died"
            printed.append(line.strip())
        return "\n".join(printed)

    def do(self, statement: str) -> str:
        """Have it do a statement, and wait until it is done."""
        self.tell(statement)
        return self.wait()

    def end(self) -> None:
        """End it and wait for it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue


@pytest.fixture
def start_program() -> Iterator[Callable[..., Program]]:
    """Starts programs; they are ended with the test."""
    programs: list[Program] = []

    def start(first: str = "") -> Program:
        programs.append(Program(first))
        programs[-1].do("pass")
        return programs[-1]

    yield start
    for program in programs:
        program.end()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, ten seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.005)

    return wait

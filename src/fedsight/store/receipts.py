"""From a receipt (one block of one journal) to what of it is new and may be indexed."""

from __future__ import annotations

from itertools import accumulate
from operator import attrgetter

import msgspec

from fedsight.errors import StoreError
from fedsight.events import (
    AnyEvent,
    BadLine,
    Block,
    ClientUpdate,
    JournalHeader,
    Metric,
    Policy,
    RoundEnd,
    RoundStart,
    RunStart,
    Sample,
    ServerInfo,
    SourceState,
    Topology,
    UnknownEvent,
)
from fedsight.store.tally import SERVER, SITE

LARGEST_INTEGER = 1 << 53
"""Rounds and steps beyond this are refused: no JSON number, and no browser, holds them exactly."""

_SITES = ("client", "monitor")
_NEED_A_RUN = (ClientUpdate, RoundStart, RoundEnd, RunStart)
_get_client_id, _get_round, _get_base_round = attrgetter("client_id"), attrgetter("round"), attrgetter("base_round")


class Receipt(msgspec.Struct):
    """One decoded block of one journal, as it was received."""

    header: JournalHeader
    block: Block
    received_at: float


class Other(msgspec.Struct):
    """An event that is no client update. `before` counts the updates that stand before it in its segment."""

    before: int
    offset: int
    line: bytes
    event: AnyEvent | UnknownEvent


class Segment(msgspec.Struct):
    """The new part of a receipt: its client updates, and everything else, each in journal order."""

    header: JournalHeader
    received_at: float
    end: int
    updates: list[ClientUpdate]
    others: list[Other]
    bad: list[BadLine]

    @property
    def source(self) -> int:
        """Who tells of clients: a site of itself, or the server (or a source that polls it)."""
        return SITE if self.header.role in _SITES else SERVER


def cut(block: Block, header: JournalHeader, cursor: int | None) -> Block | None:
    """The part of `block` that lies behind the cursor; None where there is none.

    Raises `StoreError` when bytes between the cursor and the block are missing.
    """
    if cursor is None:
        # A journal whose first files are gone begins with the header of the oldest that is left.
        cursor = block.start if block.start == header.base else 0
    if block.start > cursor:
        raise StoreError(
            f"Journal {header.journal!r} is indexed up to offset {cursor}, but the block starts at {block.start}. "
            "Send the bytes between them first."
        )
    if block.end <= cursor:
        return None
    if block.start == cursor:
        return block
    at = cursor - block.start
    if block.data[at - 1 : at] != b"\n":
        raise StoreError(
            f"Journal {header.journal!r}: offset {cursor} is no start of a line in the block from {block.start}. "
            "The journal's bytes were changed; index it again from the start."
        )
    return Block(
        start=cursor,
        data=block.data[at:],
        events=block.events[block.data.count(b"\n", 0, at) :],
        bad=[bad for bad in block.bad if bad.offset >= cursor],
    )


def admit(block: Block, receipt: Receipt) -> Segment:
    """Sort a block's events, and refuse those that its journal may not write."""
    header, events = receipt.header, block.events
    segment = Segment(header, receipt.received_at, block.end, [], [], list(block.bad))
    updates = [event for event in events if type(event) is ClientUpdate]
    if _all_may_stand(updates, header):
        segment.updates = updates
        places = [at for at, event in enumerate(events) if type(event) is not ClientUpdate]
    else:
        places = list(range(len(events)))
    if not places:
        return segment
    lines = block.data.split(b"\n")
    ends = list(accumulate(map(len, lines)))
    for num_seen, at in enumerate(places):
        event, line = events[at], lines[at]
        if event is None:
            continue
        offset = block.start + ends[at] - len(line) + at
        reason = refusal(event, header)
        if reason is not None:
            segment.bad.append(BadLine(offset, reason))
        elif type(event) is ClientUpdate:
            segment.updates.append(event)
        elif type(event) is not JournalHeader:
            before = at - num_seen if segment.updates is updates else len(segment.updates)
            segment.others.append(Other(before, offset, line, event))
    return segment


def _all_may_stand(updates: list[ClientUpdate], header: JournalHeader) -> bool:
    """Whether all of them pass, found out in bulk (a no is looked into line by line)."""
    if header.run_id is None:
        return False
    if header.role in _SITES and set(map(_get_client_id, updates)) != {header.client_id}:
        return False
    whole = set(map(_get_round, updates)) | set(map(_get_base_round, updates))
    whole.discard(None)
    return not whole or (min(whole) > -LARGEST_INTEGER and max(whole) < LARGEST_INTEGER)


def refusal(event: AnyEvent | UnknownEvent, header: JournalHeader) -> str | None:
    """Why this journal may not write this event, or None where it may."""
    if isinstance(event, JournalHeader):
        if event.journal != header.journal:
            return f"journal: the header of another journal ({event.journal!r}) in this one ({header.journal!r})"
        return None
    if isinstance(event, UnknownEvent):
        return _out_of_range("ts", event.ts) if isinstance(event.ts, int) else None
    if header.run_id is None and isinstance(event, _NEED_A_RUN):
        return f"run_id: this journal names no run, so it can't hold a {_kind(event)}"
    if isinstance(event, RunStart) and event.run_id != header.run_id:
        return f"run_id: {event.run_id!r}, but this is a journal of run {header.run_id!r}"
    if header.role != "server" and isinstance(event, (RoundStart, RoundEnd, ServerInfo)):
        return f"kind: a {header.role}'s journal can't hold a {_kind(event)}; that is the server's to say"
    if header.role != "source" and isinstance(event, (SourceState, Topology)):
        return f"kind: a {header.role}'s journal can't hold a {_kind(event)}; that is a source's to say"
    if header.role in _SITES:
        if isinstance(event, Policy):
            return (
                f"kind: a {header.role}'s journal can't hold a policy; that is a policy engine's or the server's to say"
            )
        client_id = getattr(event, "client_id", None)
        if client_id is not None and client_id != header.client_id:
            return f"client_id: {client_id!r}, but this journal speaks for {header.client_id!r} alone"
    for name in ("round", "base_round", "step"):
        reason = _out_of_range(name, getattr(event, name, None))
        if reason is not None:
            return reason
    return None


def _out_of_range(name: str, value: int | None) -> str | None:
    if value is None or -LARGEST_INTEGER < value < LARGEST_INTEGER:
        return None
    return f"{name}: {str(value)[:20]}… is out of range (beyond ±2^53)"


def _kind(event: AnyEvent) -> str:
    return str(event.__struct_config__.tag)


def client_of(event: Metric | Sample | AnyEvent | UnknownEvent, header: JournalHeader) -> str | None:
    """Whom an event is about: the client it names, else the one whose journal it stands in."""
    named = event.fields.get("client_id") if isinstance(event, UnknownEvent) else getattr(event, "client_id", None)
    return named if isinstance(named, str) else header.client_id

"""A ticket is good once, and not for long."""

from __future__ import annotations

from fedsight.collector.tickets import LIFETIME_SEC, MAX_TICKETS, Tickets


class Clock:
    """A clock that is put forward by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_is_good_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    assert tickets.redeem(ticket)
    assert not tickets.redeem(ticket)


def test_a_ticket_that_was_never_given_is_none() -> None:
    tickets = Tickets()
    ticket = tickets.issue()
    assert not tickets.redeem("")
    assert not tickets.redeem(ticket + "x")
    assert not tickets.redeem("\udc80")
    assert tickets.redeem(ticket)


def test_a_ticket_that_is_too_old_is_none() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    early, late = tickets.issue(), tickets.issue()
    clock.now += LIFETIME_SEC - 0.1
    assert tickets.redeem(early)
    clock.now += 0.2
    assert not tickets.redeem(late)


def test_tickets_that_nobody_uses_do_not_pile_up() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    first = tickets.issue()
    for _ in range(MAX_TICKETS):
        last = tickets.issue()
    assert len(tickets._issued) == MAX_TICKETS
    assert not tickets.redeem(first)
    assert tickets.redeem(last)
    clock.now += LIFETIME_SEC + 1
    tickets.issue()
    assert len(tickets._issued) == 1

"""What processes hand on to their parents is counted once, and what they don't isn't lost."""

from __future__ import annotations

from fedsight.monitor.family_total import FamilyTotal
from fedsight.monitor.member import Member

NOTHING = (0.0, 0.0)


def member(pid: int, parent: Member | None = None, *, is_excluded: bool = False) -> Member:
    return Member(pid, parent, is_excluded=is_excluded)


def test_what_a_parent_inherits_is_not_counted_again():
    total, parent = FamilyTotal(), member(1)
    child = member(2, parent)
    assert total.update({parent: (1, 0), child: (5, 2)}, {parent: NOTHING, child: NOTHING}) == (6, 2)
    # It used one more before it ended, which only the parent's figure tells.
    assert total.update({parent: (7, 3)}, {parent: (6, 3)}) == (7, 3)


def test_what_nobody_inherits_is_kept_as_last_seen():
    total, parent = FamilyTotal(), member(1)
    child = member(2, parent)
    total.update({parent: (1, 0), child: (5, 2)}, {parent: NOTHING, child: NOTHING})
    assert total.update({parent: (2, 0)}, {parent: NOTHING}) == (7, 2)
    assert total.update({parent: (3, 0)}, {parent: NOTHING}) == (8, 2)


def test_a_grandchild_is_inherited_through_its_ended_parent():
    total, parent = FamilyTotal(), member(1)
    child = member(2, parent)
    grandchild = member(3, child)
    everybody = {parent: (1.0, 0.0), child: (2.0, 0.0), grandchild: (4.0, 0.0)}
    total.update(everybody, dict.fromkeys(everybody, NOTHING))
    assert total.update({parent: (7, 0)}, {parent: (6, 0)}) == (7, 0)


def test_a_grandchild_whose_parent_did_not_wait_for_it_is_kept():
    total, parent = FamilyTotal(), member(1)
    child = member(2, parent)
    grandchild = member(3, child)
    everybody = {parent: (1.0, 0.0), child: (2.0, 0.0), grandchild: (4.0, 0.0)}
    total.update(everybody, dict.fromkeys(everybody, NOTHING))
    assert total.update({parent: (3, 0)}, {parent: (2, 0)}) == (7, 0)


def test_an_orphan_is_kept():
    total, parent, orphan = FamilyTotal(), member(1), member(2)
    total.update({parent: (1, 0), orphan: (4, 1)}, {parent: NOTHING, orphan: NOTHING})
    assert total.update({parent: (1, 0)}, {parent: NOTHING}) == (5, 1)


def test_a_shortfall_within_rounding_is_no_loss():
    total, parent = FamilyTotal(tolerance=0.125), member(1)
    child = member(2, parent)
    total.update({parent: (1, 0), child: (5, 0)}, {parent: NOTHING, child: NOTHING})
    assert total.update({parent: (5.75, 0)}, {parent: (4.75, 0)}) == (6, 0)  # and no step back
    assert total.update({parent: (6.5, 0)}, {parent: (4.75, 0)}) == (6.5, 0)


def test_excluded_members_count_neither_alive_nor_inherited():
    total, parent = FamilyTotal(), member(1)
    excluded = member(2, parent, is_excluded=True)
    assert total.update({parent: (1, 0), excluded: (5, 1)}, {parent: NOTHING, excluded: NOTHING}) == (1, 0)
    assert total.update({parent: (6, 1)}, {parent: (5, 1)}) == (1, 0)


def test_children_of_an_excluded_member_are_taken_off_once():
    total, parent = FamilyTotal(), member(1)
    excluded = member(2, parent, is_excluded=True)
    below = member(3, excluded)
    assert below.is_excluded
    everybody = {parent: (1.0, 0.0), excluded: (5.0, 0.0), below: (2.0, 0.0)}
    assert total.update(everybody, dict.fromkeys(everybody, NOTHING)) == (1, 0)
    now = {parent: (1.0, 0.0), excluded: (7.0, 0.0)}
    assert total.update(now, {parent: NOTHING, excluded: (2, 0)}) == (1, 0)

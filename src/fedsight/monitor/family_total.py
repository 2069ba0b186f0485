"""Totals of what processes hand on to the parent that waits for them: CPU time, bytes of I/O, page faults.

While a process lives, its own figures count; once its parent has waited for it, the parent's figures hold them. So
the sum over the living is right, and nothing is counted twice. What isn't handed on (the parent ignores SIGCHLD, or
ended first) is kept from when it was last seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedsight.monitor.member import Member

Amounts = tuple[float, float]


class FamilyTotal:
    """Two running totals over a family; they never decrease, and leave out its excluded members.

    tolerance: how much one process's figures may be off by rounding alone, in the first amount's unit.
    """

    def __init__(self, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        self._last: dict[Member, Amounts] = {}
        self._last_inherited: dict[Member, Amounts] = {}
        self._excluded: dict[Member, Amounts] = {}
        self._lost = (0.0, 0.0)
        self.total: Amounts = (0.0, 0.0)

    def update(self, amounts: Mapping[Member, Amounts], inherited: Mapping[Member, Amounts]) -> Amounts:
        """The totals, given what each living member has used and, of that, what it has from ended children.

        Where the two can't be told apart, `inherited` is the same as `amounts`.
        """
        if not amounts.keys() >= self._last.keys():
            self._settle(amounts, inherited)
        first, second = self._lost
        for member, (one, other) in amounts.items():
            first += one
            second += other
            if member.is_excluded:
                self._excluded[member] = (one, other)
        for one, other in self._excluded.values():
            first -= one
            second -= other
        self._last, self._last_inherited = dict(amounts), dict(inherited)
        self.total = (max(self.total[0], first), max(self.total[1], second))
        return self.total

    def _settle(self, amounts: Mapping[Member, Amounts], inherited: Mapping[Member, Amounts]) -> None:
        """Keep what ended members have used and nobody has inherited."""
        expected: dict[Member | None, Amounts] = {}
        tolerance: dict[Member | None, float] = {}
        for member in self._last.keys() - amounts.keys():
            heir = member.parent
            while heir is not None and heir not in amounts:
                heir = heir.parent
            before, last = expected.get(heir, (0.0, 0.0)), self._last[member]
            expected[heir] = (before[0] + last[0], before[1] + last[1])
            tolerance[heir] = tolerance.get(heir, self._tolerance) + self._tolerance
            if heir is not None and heir.is_excluded:
                self._excluded.pop(member, None)
        for heir, (first, second) in expected.items():
            if heir is not None:
                had, has = self._last_inherited.get(heir, (0.0, 0.0)), inherited[heir]
                first, second = first - (has[0] - had[0]), second - (has[1] - had[1])
                if first <= tolerance[heir]:
                    continue
            self._lost = (self._lost[0] + max(0.0, first), self._lost[1] + max(0.0, second))

"""Amounts as people read them: "1.24 GB", "2 min 5 s", "3.1 kJ"."""

from __future__ import annotations

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")
_JOULES = ("J", "kJ", "MJ", "GJ")


def bytes_text(num_bytes: float) -> str:
    """In powers of 1000."""
    return _scaled(num_bytes, _BYTES)


def energy_text(joules: float) -> str:
    """In J, kJ, …"""
    return _scaled(joules, _JOULES)


def time_text(seconds: float) -> str:
    """`0.312 s`, `12.4 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number_text(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value != value or abs(value) in (0, float("inf")):
        return "0" if value == 0 else f"{value}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    place = 0
    while abs(value) >= 999.5 and place < len(units) - 1:
        value /= 1000
        place += 1
    if place == 0 and value == int(value):
        return f"{value:.0f} {units[0]}"
    return f"{number_text(value)} {units[place]}"

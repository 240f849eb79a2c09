"""Calls that agents' phones make by themselves: what the definition says of them. Asterisk carries them.

Nothing may be dialled that is not allowed here; emergency numbers pass from every phone of ours.
"""

from __future__ import annotations

import re

from msgspec import Struct

EMERGENCY_ANYWHERE = ("112", "911")
"""Mobile networks take these two in every country (3GPP TS 22.101, 10.1.1)."""
EMERGENCY: dict[str, tuple[str, ...]] = {
    "AT": ("112", "122", "133", "144"),
    "AU": ("000", "112", "106"),
    "BE": ("112", "100", "101"),
    "BR": ("190", "192", "193"),
    "CA": ("911",),
    "CH": ("112", "117", "118", "144"),
    "CZ": ("112", "150", "155", "158"),
    "DE": ("112", "110"),
    "DK": ("112",),
    "ES": ("112",),
    "FI": ("112",),
    "FR": ("112", "15", "17", "18", "114"),
    "GB": ("999", "112"),
    "IE": ("112", "999"),
    "IN": ("112", "100", "101", "102", "108"),
    "IT": ("112", "113", "115", "118"),
    "JP": ("110", "118", "119"),
    "MX": ("911",),
    "NL": ("112",),
    "NO": ("110", "112", "113"),
    "NZ": ("111",),
    "PL": ("112", "997", "998", "999"),
    "PT": ("112",),
    "SE": ("112",),
    "US": ("911", "933"),
    "ZA": ("112", "10111", "10177"),
}
"""By country (ISO 3166), each with what reaches the police, fire brigade and ambulance there; 933 tells the
caller in the United States which address 911 would be given."""
PATTERN = re.compile(r"\+?(?:[0-9XZN]|\[[0-9](?:-?[0-9])*\])+\.?")
"""What Asterisk's patterns can say of digits: X 0-9, Z 1-9, N 2-9, [1-5], and a final dot: one or more."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may dial ``numbers`` (digits and patterns) out through ``trunk``.

    ``agents``, and whoever is in one of ``groups``, or ``everyone`` with an agent's phone. ``strip`` takes so
    many digits off the front of what was dialled, ``prefix`` is put there; ``caller_id``: the number shown.
    """

    numbers: tuple[str, ...]
    trunk: str
    agents: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    everyone: bool = False
    strip: int = 0
    prefix: str = ""
    caller_id: str = ""


class Dialling(Struct, frozen=True, forbid_unknown_fields=True):
    """``inside``: whether agents' phones may dial extensions. ``emergency``: those numbers in place of the
    ``country``'s; they go through ``emergency_trunks``, or all trunks, in order. ``ring_s``: how long a call
    rings at most."""

    inside: bool = False
    country: str = ""
    emergency: tuple[str, ...] | None = None
    emergency_trunks: tuple[str, ...] = ()
    emergency_caller_id: str = ""
    ring_s: int = 45
    rules: dict[str, Rule] = {}

    @property
    def emergency_numbers(self) -> tuple[str, ...]:
        """Those that pass from every phone."""
        if self.emergency is not None:
            return self.emergency
        return EMERGENCY.get(self.country, EMERGENCY_ANYWHERE)

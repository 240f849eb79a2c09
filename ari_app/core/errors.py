"""What the core refuses."""

from __future__ import annotations


class IllegalMove(Exception):
    """An event that a table of moves does not allow; nothing was changed."""

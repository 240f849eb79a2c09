"""How much one token may ask: a bucket each, refilled steadily."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

KEPT = 1_000


@dataclass
class _Bucket:
    left: float
    at_s: float


class RateLimit:
    """``rate`` requests a second on average, ``burst`` at once. Keys beyond ``KEPT`` push out the oldest."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, key: str, now_s: float) -> float:
        """0 and one request is spent, or the seconds until there would be one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self.burst), now_s)
            while len(self._buckets) > KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        refilled = bucket.left + (now_s - bucket.at_s) * self.rate
        bucket.left, bucket.at_s = min(float(self.burst), refilled), now_s
        if bucket.left < 1:
            return (1 - bucket.left) / self.rate
        bucket.left -= 1
        return 0.0

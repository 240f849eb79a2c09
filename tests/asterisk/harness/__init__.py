"""Real SIP phones for tests: they dial, press keys, talk in tones, and know what they heard.

Interactive phones are a small SIP user agent (:mod:`.phone`), because "answer now", "hang up in the same
instant" and "busy for this call only" need a program and not a scenario. Scripted calls and load are SIPp
(:mod:`.sipp`). The audio of both is sent and recorded by one process of its own (:mod:`.media`) and judged
afterwards (:mod:`.ear`).
"""

from .ear import Ear, Frame, Sound, Stretch
from .phone import Account, Call, End, Phone, Policy, answers, busy, dead, declines, rejects, rings
from .room import TONES, PhoneRoom
from .sip import SipError
from .voice import MediaError, MediaProcess, Voice

__all__ = [
    "TONES",
    "Account",
    "Call",
    "Ear",
    "End",
    "Frame",
    "MediaError",
    "MediaProcess",
    "Phone",
    "PhoneRoom",
    "Policy",
    "SipError",
    "Sound",
    "Stretch",
    "Voice",
    "answers",
    "busy",
    "dead",
    "declines",
    "rejects",
    "rings",
]

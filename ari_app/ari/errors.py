"""What can go wrong on ARI, as types, and what a status means for each operation.

Two families: `LinkError` (the connection; the request may or may not have run, see `outcome_unknown`) and
`StatusError` (Asterisk answered). Statuses are read per operation, since Asterisk uses one number for several
things: 409 is a duplicate id to POST channels/{id} and "not in Stasis" to POST channels/{id}/play.

Sources: the errorResponses of Asterisk's rest-api/*.json, and what 22.10.1 answered where it differs (said
beside the line; tests/asterisk/test_ari_client.py asks it again).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec


class AriError(Exception):
    """Base of everything this package raises. `outcome_unknown`: the request may have run; read it back."""

    outcome_unknown: bool = False


class LinkError(AriError):
    """The connection to Asterisk, not an answer."""


class LinkDown(LinkError):
    """Not connected: nothing was sent, nothing is queued."""


class LinkLost(LinkError):
    """The connection ended while the request was under way."""

    outcome_unknown = True


class RequestTimedOut(LinkError):
    """No answer within the request's limit."""

    outcome_unknown = True


class RequestTooLarge(LinkError):
    """Above 65,535 bytes Asterisk closes the socket (1009), so it was not sent."""


class Replaced(LinkError):
    """Another process connected under our application name. Stop: two masters must never drive one call."""


class WrongCredentials(LinkError):
    """ARI answered 401 or 403 to the connection."""


class ApplicationRefused(LinkError):
    """ARI answered 400 to the connection: it did not take the application's name."""


class AriMissing(LinkError):
    """HTTP answers, ARI does not (404)."""


class AsteriskNotBooted(LinkError):
    """ARI answers 503 until Asterisk is fully booted."""


class AsteriskUnreachable(LinkError):
    """Nothing accepts the connection."""


class SetupRefused(LinkError):
    """Connected, but the event filter could not be set."""


class StatusError(AriError):
    """Asterisk answered with an error. `reason` is Asterisk's own text."""

    def __init__(self, method: str, path: str, status: int, reason: str) -> None:
        super().__init__(f"{method} {path}: {status} {reason}")
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason


class BadRequest(StatusError):
    """400: a parameter is wrong; a mistake of ours."""


class OriginateRefused(BadRequest):
    """The endpoint could not be dialled at all (unknown, unregistered): no channel, and no event follows."""


class NotFound(StatusError):
    """404, or a 400 that says the same."""


class ChannelNotFound(NotFound):
    """The channel is gone: normal when a caller hangs up first."""


class BridgeNotFound(NotFound):
    """The bridge is gone."""


class PlaybackNotFound(NotFound):
    """The playback has ended (or never was)."""


class RecordingNotFound(NotFound):
    """No such recording, live or stored."""


class EndpointNotFound(NotFound):
    """No such endpoint is configured."""


class ApplicationNotFound(NotFound):
    """No socket is connected under this application name."""


class VariableNotFound(NotFound):
    """The channel or bridge has no such variable; ChannelNotFound when the channel itself is gone."""


class EventSourceNotFound(NotFound):
    """A subscription named something that does not exist."""


class Conflict(StatusError):
    """409 that is none of the below."""


class NotInStasis(Conflict):
    """The channel is still in the dialplan, has left Stasis, or is on its way out."""


class DuplicateId(Conflict):
    """A channel, bridge or recording of this id exists; for originate read it back: see `_ORIGINATE`."""


class NotSubscribed(Conflict):
    """The application was not subscribed to this source."""


class MusicNotPlaying(Conflict):
    """The bridge plays no music, so there was none to stop."""


class InvalidState(StatusError):
    """412: the channel's state does not allow it, mostly since it is hanging up."""


class Unprocessable(StatusError):
    """422."""


class ChannelNotInStasis(Unprocessable, NotInStasis):
    """addChannel or removeChannel named a channel that is not in Stasis (422 there, 409 elsewhere)."""


class ChannelNotInBridge(Unprocessable):
    """removeChannel named a channel that is not in this bridge."""


class FormatUnknown(Unprocessable):
    """Asterisk has no module for this recording or media format."""


class ServerError(StatusError):
    """500: Asterisk could not do it. What it did is to be read back."""

    outcome_unknown = True


class PlaybackNotStoppable(ServerError):
    """Spoken media (`number:`, `digits:` ...) can't be stopped."""


class SnoopRefused(ServerError):
    """No snoop channel: most often its id exists already (500 here, where channels and bridges say 409)."""


class UnexpectedStatus(StatusError):
    """A status that neither the description nor experience knows for this operation."""


Meaning: TypeAlias = type[StatusError] | tuple[tuple[str, type[StatusError]], ...]

_DEFAULTS: Final[Mapping[int, type[StatusError]]] = {
    400: BadRequest,
    404: NotFound,
    409: Conflict,
    412: InvalidState,
    422: Unprocessable,
    500: ServerError,
}

_CHANNEL: Final[dict[int, Meaning]] = {404: ChannelNotFound, 409: NotInStasis}
_BRIDGE: Final[dict[int, Meaning]] = {404: BridgeNotFound, 409: NotInStasis}
_PLAYBACK: Final[dict[int, Meaning]] = {404: PlaybackNotFound}
_RECORDING: Final[dict[int, Meaning]] = {404: RecordingNotFound}
_BRIDGE_MUSIC: Final[dict[int, Meaning]] = {409: (("playing", MusicNotPlaying), ("", NotInStasis))}
_STOPPING: Final[dict[int, Meaning]] = {500: PlaybackNotStoppable}
_COPYING: Final[dict[int, Meaning]] = {409: DuplicateId}
_VARIABLE: Final[dict[int, Meaning]] = {
    404: (("channel", ChannelNotFound), ("bridge", BridgeNotFound), ("variable", VariableNotFound)),
    409: NotInStasis,
}

# 409 is decided from the thread's errno, which Asterisk does not clear: after one real duplicate on a socket,
# 22.10.1 answers 409 to every originate on it that fails for any reason (an unregistered phone, say).
_ORIGINATE: Final[dict[int, Meaning]] = {400: OriginateRefused, 409: DuplicateId, 500: OriginateRefused}

# addChannel and removeChannel say 400 for a channel that does not exist, 422 for one in the dialplan.
_MEMBERSHIP: Final[dict[int, Meaning]] = {
    400: (("channel not found", ChannelNotFound), ("", BadRequest)),
    404: BridgeNotFound,
    409: (("recording", Conflict), ("", NotInStasis)),
    422: (("not in this bridge", ChannelNotInBridge), ("", ChannelNotInStasis)),
}

# 409 is either of two things here; only the text tells them apart.
_RECORD: Final[dict[int, Meaning]] = {
    409: (("exists", DuplicateId), ("stasis", NotInStasis), ("", Conflict)),
    422: FormatUnknown,
}

# Snooping a second time under one id is 500, and a repeated playback id is 201 twice: neither has a 409.
_SNOOP: Final[dict[int, Meaning]] = {404: ChannelNotFound, 500: SnoopRefused}

_SUBSCRIPTION: Final[dict[int, Meaning]] = {
    404: ApplicationNotFound,
    409: NotSubscribed,
    # 22.10.1 answers 422 where its description promises 409.
    422: (("not subscribed", NotSubscribed), ("", EventSourceNotFound)),
}

_TABLE: Final[Mapping[tuple[str, str], Mapping[int, Meaning]]] = {
    ("POST", "channels"): _ORIGINATE,
    ("POST", "channels/create"): _ORIGINATE,
    ("POST", "channels/externalMedia"): {409: DuplicateId},
    ("POST", "channels/*"): _ORIGINATE,
    ("*", "channels/*"): _CHANNEL,
    ("*", "channels/*/*"): _CHANNEL,
    ("*", "channels/*/play/*"): _CHANNEL,
    ("POST", "channels/*/record"): _CHANNEL | _RECORD,
    ("POST", "channels/*/snoop"): _SNOOP,
    ("POST", "channels/*/snoop/*"): _SNOOP,
    ("*", "channels/*/variable"): _VARIABLE,
    ("*", "channels/*/variables"): _VARIABLE,
    ("POST", "bridges"): {409: DuplicateId},
    ("POST", "bridges/*"): {409: DuplicateId},
    ("*", "bridges/*"): _BRIDGE,
    ("*", "bridges/*/*"): _BRIDGE,
    ("*", "bridges/*/play/*"): _BRIDGE,
    ("*", "bridges/*/videoSource/*"): _BRIDGE,
    ("POST", "bridges/*/addChannel"): _MEMBERSHIP,
    ("POST", "bridges/*/removeChannel"): _MEMBERSHIP,
    ("POST", "bridges/*/record"): _BRIDGE | _RECORD,
    ("DELETE", "bridges/*/moh"): _BRIDGE | _BRIDGE_MUSIC,
    ("*", "bridges/*/variable"): _VARIABLE,
    ("*", "bridges/*/variables"): _VARIABLE,
    ("*", "playbacks/*"): _PLAYBACK,
    ("DELETE", "playbacks/*"): _PLAYBACK | _STOPPING,
    ("*", "playbacks/*/control"): _PLAYBACK,
    ("*", "recordings/stored/*"): _RECORDING,
    ("*", "recordings/stored/*/*"): _RECORDING | _COPYING,
    ("*", "recordings/live/*"): _RECORDING,
    ("*", "recordings/live/*/*"): _RECORDING,
    ("*", "endpoints/*/*"): {404: EndpointNotFound},
    ("*", "endpoints/*/*/*"): {404: EndpointNotFound},
    ("*", "applications/*"): {404: ApplicationNotFound},
    ("*", "applications/*/eventFilter"): {404: ApplicationNotFound},
    ("*", "applications/*/subscription"): _SUBSCRIPTION,
    ("POST", "events/claim"): {404: ChannelNotFound},
}

# Second segments that are words of the API, not ids.
_FIXED: Final = {
    "channels/create",
    "channels/externalMedia",
    "events/claim",
    "asterisk/ping",
    "asterisk/info",
    "asterisk/modules",
    "asterisk/logging",
    "asterisk/variable",
}


def operation(path: str) -> str:
    """The path with its ids masked, fit for a metric's label: channels/c1/play/p1 -> channels/*/play/*."""
    segments = path.split("/")
    masked = [segments[0]]
    # Ids sit at odd places, except under recordings/{live,stored} and endpoints/TECH/RESOURCE.
    for place, segment in enumerate(segments[1:], start=1):
        if segments[0] == "recordings":
            is_id = place == 2
        elif segments[0] == "endpoints":
            is_id = place <= 2
        else:
            is_id = place % 2 == 1 and not (len(segments) == 2 and f"{segments[0]}/{segment}" in _FIXED)
        masked.append("*" if is_id else segment)
    return "/".join(masked)


class _Body(msgspec.Struct):
    message: str = ""
    error: str = ""


_bodies: Final = msgspec.json.Decoder(_Body)


def reason_of(body: bytes | str) -> str:
    """Asterisk's explanation in an error's body (`message`, sometimes `error`), or nothing."""
    try:
        decoded = _bodies.decode(body)
    except msgspec.DecodeError:
        return ""  # HTTP's own error pages are HTML: the status says it all
    return decoded.message or decoded.error


def read_status(method: str, path: str, status: int, body: bytes | str = b"") -> StatusError | None:
    """What a status means for this request: None for success (2xx), else the error, not raised.

    `path` is without the leading `/ari/`, ids and all. Pure.
    """
    if 200 <= status < 300:
        return None
    reason = reason_of(body)
    template = operation(path)
    for key in ((method, template), ("*", template), ("*", template.rpartition("/")[0] + "/*")):
        meanings = _TABLE.get(key)
        if meanings is not None:
            break
    else:
        meanings = {}
    meaning = meanings.get(status) or _DEFAULTS.get(status, UnexpectedStatus)
    if isinstance(meaning, tuple):
        text = reason.lower()
        meaning = next(
            (kind for fragment, kind in meaning if fragment in text), _DEFAULTS.get(status, UnexpectedStatus)
        )
    return meaning(method, path, status, reason)

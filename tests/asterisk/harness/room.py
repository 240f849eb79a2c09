"""A room full of phones: the media process, and phones each with a tone of its own."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .phone import Account, Phone
from .voice import MediaProcess, Voice

TONES: Final = (*range(1000, 3400, 100), *range(1050, 3400, 100), *range(500, 1000, 50))
"""Tones for the phones, in hertz, the ones that music holds least first; 58 of them."""


class PhoneRoom:
    """``async with PhoneRoom() as room: ann = await room.phone("ann", account)``.

    Leaving hangs everything up, closes every phone and raises what failed in the background. Captures are
    kept in ``folder`` (a temporary one, removed at the end, without it).
    """

    def __init__(self, folder: Path | None = None, host: str = "127.0.0.1") -> None:
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.media = MediaProcess(folder or Path(self._temporary.name if self._temporary else "."), host)
        self.host = host
        self.phones: list[Phone] = []
        self.tones: list[int] = []
        """The tones in use: those that an ear in this room knows."""

    async def __aenter__(self) -> Self:
        await self.media.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """
        Raises:
            BaseExceptionGroup: what failed in the phones' background.
        """
        errors: list[BaseException] = []
        for phone in self.phones:
            try:
                await phone.close()
            except Exception as error:
                errors.append(error)  # the other phones are closed before it is raised
        await self.media.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
        if errors:
            raise BaseExceptionGroup("phones failed", errors)

    def new_tone(self) -> int:
        """A tone that no other phone has.

        Raises:
            ValueError: all are taken; the phone may do without one (``tone=None``).
        """
        free: int | None = next((tone for tone in TONES if tone not in self.tones), None)
        if free is None:
            raise ValueError(f"all {len(TONES)} tones are taken: give the phone tone=None (silence)")
        self.tones.append(free)
        return free

    async def phone(
        self,
        name: str,
        account: Account,
        *,
        register: bool = False,
        silent: bool = False,
        host: str | None = None,
        port: int = 0,
    ) -> Phone:
        """A phone that speaks a tone of its own (or silence), registered if asked.

        ``host`` is its address if not the room's: on 127.0.0.2 it can be a trunk told by its address; with a
        ``port`` that Asterisk knows, one that it calls.
        """
        phone = Phone(name, account, None if silent else self.new_tone(), self.media, self.tones)
        await phone.open(host or self.host, port)
        self.phones.append(phone)
        if register:
            await phone.register()
        return phone

    async def voice(self, name: str, script: Sequence[tuple[float, str]] = ()) -> Voice:
        """Mouth and ear alone, for a call whose signalling SIPp does: see :meth:`MediaProcess.open`."""
        return await self.media.open(name, self.new_tone(), self.tones, script=script)

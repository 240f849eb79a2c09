"""A piece of rendered configuration."""


class Block(str):
    """Text that was rendered already: whole lines of configuration, taken as they are."""

    __slots__ = ()

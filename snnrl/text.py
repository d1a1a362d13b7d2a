"""Text of unknown origin, made safe for a terminal."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
"""Most characters of a value that are shown; a whole line may have ten times as many."""

UNSHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories without a glyph of their own: control and format characters (terminal escapes,
the other direction of writing), halves of surrogate pairs, what is not assigned, ends of lines."""


def printable(text: object, *, keep: str = "") -> str:
    r"""Return a text in which nothing moves the cursor, colours, hides or starts a new line.

    A terminal obeys escape sequences, and a file name or a cell of a stranger's table may hold
    some. What has no glyph is written as in Python, ``\x1b`` for example.

    :param keep: characters to leave as they are, such as the newlines of a table
    """
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in UNSHOWN
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in str(text)
    )


MARKUP = re.compile(r"[\\`*~|<>$]|(?<=\])(?=[(\[])")
"""Characters that markdown interprets; a link is one through the bracket that follows another."""


def as_markdown(text: object) -> str:
    """Return a text as one line of markdown that shows it, without links, HTML or formulas."""
    return MARKUP.sub(lambda mark: f"\\{mark[0]}", printable(text))


def shortened(text: object, longest: int = LONGEST) -> str:
    """Return a text that is at most ``longest`` characters long, cut in the middle."""
    whole = str(text)
    if len(whole) <= longest:
        return whole
    half = (longest - 5) // 2
    return f"{whole[:half]} ... {whole[-half:]}"


def one_line(text: object) -> str:
    """Return a text as one printable line of limited length."""
    return shortened(printable(" ".join(str(text).splitlines())), 10 * LONGEST)

"""Texts of unknown origin become texts and nothing else."""

from __future__ import annotations

import unicodedata

import pytest

from snnrl.text import as_markdown, one_line, printable, shortened


def test_nothing_without_a_glyph_is_left() -> None:
    everything = "".join(map(chr, range(0x3000))) + "\ud800\U000e0001\ufeff"
    shown = printable(everything)
    assert all(unicodedata.category(c)[0] not in "C" for c in shown)
    assert not {"\n", "\r", "\x85", "\u2028", "\u2029"} & set(shown)
    shown.encode()
    assert printable("Ünïcode ± 日本") == "Ünïcode ± 日本"
    assert printable("a\x1b[2J\u202e") == r"a\x1b[2J\u202e"
    assert printable("a\nb", keep="\n") == "a\nb"


def test_one_line_is_short_and_one() -> None:
    assert one_line("a\nb\r\nc\x1b") == r"a b c\x1b"
    assert len(one_line("x" * 10**6)) <= 3000
    assert shortened("ab" * 100, 21) == "abababab ... abababab"
    assert shortened("ab", 21) == "ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<img src=x>", r"\<img src=x\>"),
        ("[x](http://x)", r"[x]\(http://x)"),
        ("![x][y]", r"![x]\[y]"),
        ("`c` *b* ~s~", r"\`c\` \*b\* \~s\~"),
        ("$x$", r"\$x\$"),
        ("a\\b", r"a\\b"),
        ("a\nb", r"a\\nb"),
        ("12.0 ± 3 [10.1, 14]", "12.0 ± 3 [10.1, 14]"),
        ("algo.batch_size=64", "algo.batch_size=64"),
    ],
)
def test_markdown_shows_what_is_written(text: str, expected: str) -> None:
    assert as_markdown(text) == expected

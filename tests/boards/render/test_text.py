"""Text from files as boards show it."""

from __future__ import annotations

from anyadbench.boards.render.text import _CONTROLS, clean


def test_every_control_character_becomes_a_space_wherever_it_is() -> None:
    controls = [char for char in map(chr, range(0x110000)) if _CONTROLS.match(char)]
    assert len(controls) == 32 + 33 + 5 + 7 + 10 + 1
    assert all(clean(f"a{char}b") == "a b" for char in controls)
    assert clean("\x1b[31m\nred\u202e") == " [31m red "


def test_other_text_stays_and_long_text_is_cut() -> None:
    for text in ("Per-pixel normal", "Gr\u00f6\u00dfe \u00bd, \u03b1\u03b2, \u4e2d\u6587", "a\u00a0b", ""):
        assert clean(text) == text
    assert clean("x" * 9, 5) == "xxxx\N{HORIZONTAL ELLIPSIS}" and clean("x\ny", 5) == "x y"

"""Colours of heat-map cells for the light and the dark theme, each with readable text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

RGB = tuple[int, int, int]

# One hue from pale to deep (light theme) or from near-background to bright (dark theme): lightness alone carries the
# value, so the scale works with every kind of colour blindness and in grey print.
_LIGHT: tuple[RGB, ...] = ((240, 246, 248), (178, 211, 222), (96, 162, 184), (24, 104, 134), (8, 62, 88))
_DARK: tuple[RGB, ...] = ((30, 41, 48), (31, 73, 90), (40, 116, 140), (86, 168, 190), (170, 222, 234))


STEPS = 64
"""Colours of the scale; neighbours are too alike to distinguish."""


@dataclass(frozen=True)
class Shade:
    """Background and text colours of one cell, as CSS."""

    light: str
    light_text: str
    dark: str
    dark_text: str

    @property
    def css(self) -> str:
        """The CSS custom properties that the style sheet uses."""
        return f"--hl:{self.light};--htl:{self.light_text};--hd:{self.dark};--htd:{self.dark_text}"


def shade(level: float) -> Shade:
    """Return the colours for a level from 0 (low) to 1 (high), in ``STEPS`` steps."""
    return _shade(_step(level) / (STEPS - 1))


def level_class(level: float) -> str:
    """Return the CSS class of a level; a class is shorter than four colours in each of thousands of cells."""
    return f"h{_step(level)}"


def level_rules() -> str:
    """Return the style sheet's rules for all classes of levels."""
    return "\n".join(f".h{step}{{{shade(step / (STEPS - 1)).css}}}" for step in range(STEPS))


def _step(level: float) -> int:
    return round((STEPS - 1) * min(max(level, 0.0), 1.0))


@lru_cache(maxsize=STEPS)
def _shade(level: float) -> Shade:
    light, dark = _mix(_LIGHT, level), _mix(_DARK, level)
    return Shade(_hex(light), _text_on(light), _hex(dark), _text_on(dark))


def contrast(one: RGB, other: RGB) -> float:
    """Return the WCAG 2 contrast ratio of two colours."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _mix(stops: tuple[RGB, ...], level: float) -> RGB:
    place = min(max(level, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    share = place - index
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(stops[index], stops[index + 1], strict=True))
    return red, green, blue


def _luminance(colour: RGB) -> float:
    parts = [c / 255 for c in colour]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _text_on(colour: RGB) -> str:
    return "#000000" if contrast(colour, (0, 0, 0)) >= contrast(colour, (255, 255, 255)) else "#ffffff"

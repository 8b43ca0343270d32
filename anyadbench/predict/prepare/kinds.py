"""The words and times by which a sequence is known."""

from __future__ import annotations

import re

_FLAIR = re.compile(r"flair|\bfl\b|tirm.?dark|dark.?fluid|t2f\b|tir[m]?.*dark")
_CONTRAST = re.compile(
    r"t1.?(ce|c|gd|gad|post|km|\+c|contrast)\b|t1.*(\bgd\b|\bgad\w*|\bpost\b|\bkm\b|\+ ?c\b|\+ ?gd|contrast|\bmit km\b)"
    r"|\b(gd|gad|post|km|contrast)\b.*t1|t1gd|t1ce|t1c\b|t1post|(mp.?rage|bravo|vibe|spgr).*(\bgd\b|\bpost\b|\bkm\b|\+c)"
)
_T1 = re.compile(r"t1|mp.?rage|bravo|\bspgr\b|\btfl3d\b|mp2rage")
_T2 = re.compile(r"t2")
_OTHER = re.compile(
    r"local|scout|survey|\bdwi\b|\badc\b|trace|\bdti\b|\bdiff|\bep2d|\bepi\b|\bswi\b|t2.?star|t2\*|\bgre\b|hemo|perf|\bdsc\b"
    r"|\bdce\b|\btof\b|angio|\bmra\b|\bbold\b|\bfmri\b|\basl\b|field.?map|phoenix|screen.?save|secondary|\bmip\b|\bsub\b"
    r"|subtract|spectro|\bseg\b|segm|mask|label|lesion|gold|dlwmls|brainmask|\bspine|\bmosaic\b|projection|calib"
)


def _words(text: str) -> str:
    return re.sub(r"[_\-./\\]+", " ", text.lower()).replace(" nii gz", "").replace(" nii", "")


def kind_of_text(text: str) -> str:
    """Return the sequence that a series description or a file name means, or an empty text."""
    words = _words(text)
    if _FLAIR.search(words):
        return "flair"
    if _CONTRAST.search(words):
        return "t1ce"
    first, second = bool(_T1.search(words)), bool(_T2.search(words))
    if first == second:  # neither, or both: a guess would be worth nothing
        return ""
    return "t1" if first else "t2"


def no_sequence(text: str) -> bool:
    """Whether a description or file name means something other than the four sequences, such as a localiser."""
    return bool(_OTHER.search(_words(text)))


def kind_of_timing(repetition: float | None, echo: float | None, inversion: float | None) -> str:
    """Return the sequence that repetition, echo and inversion time (ms) mean, or an empty text.

    The limits leave room between the weightings at 1.5 T and 3 T; what lies between them is not guessed.
    """
    if echo is None or repetition is None:
        return ""
    if inversion is not None and inversion > 1500 and echo > 60 and repetition > 4000:
        return "flair"
    if echo < 30 and (repetition < 1000 or (inversion is not None and 600 <= inversion <= 1300)):
        return "t1"
    if echo > 60 and repetition > 2000 and not inversion:
        return "t2"
    return ""

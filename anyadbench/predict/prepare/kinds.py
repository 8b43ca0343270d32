"""The words and times by which a sequence is known."""

from __future__ import annotations

import re

from anyadbench.predict.prepare.contrast import NO, SILENT, UNCLEAR, agent_in_text, plain_text

_FLAIR = re.compile(r"flair|\bfl\b|tirm.?dark|dark.?fluid|t2f\b|tir[m]?.*dark")
_PLANE = r"\b|\d|ax|axi?al|tra|cor|coronal|sag|sagittal|3d|2d|brain|head|\bs?w?r?"
_T1 = re.compile(rf"(?:{_PLANE})t1(?!\d|rho)|mp.?rage|bravo|\bspgr\b|\btfl3d\b|mp2rage")
_WITH_AGENT = re.compile(r"\bvibe\b")
_T2 = re.compile(rf"(?:{_PLANE})t2(?!\d)")
_PD = re.compile(r"\bpdw?\b|proton.?dens")
_ADC = re.compile(r"\badc\b|apparent.?diff")
_DWI = re.compile(r"\bdwi\b|\btrace ?w?\b|\bisodwi\b|\bb ?=? ?(?:[5-9]\d\d|[1-9]\d\d\d)\b")
_DIFFUSION = re.compile(r"\bdiff|\bdiffusion|\bep2d\b|\bepi\b")
_OTHER = re.compile(
    r"local|scout|survey|\bdti\b|\bswi\b|t2.?star|t2\*|\bgre\b|(?<!c)hemo|perf|\bdsc\b|\beadc\b|exp\w* adc|\bcolfa\b"
    r"|\bfa\b|\bdce\b|\btof\b|angio|\bmra\b|\bbold\b|\bfmri\b|\basl\b|field.?map|phoenix|screen.?save|secondary|\bmip\b"
    r"|\bsub\b|subtract|spectro|\bseg\b|segm|mask(?!ed)|label|lesion|gold|dlwmls|\bspine|\bmosaic\b|projection|calib"
    r"|\bb ?=? ?0\b|t1.?rho|t[12].?map(?!\w)"
)

_SUBJECT = re.compile(r"^(?:sub-(?![tT][12]|flair|(?:ax|tra|cor|sag)_)[^\W_]+|(?i:sub)-\d+)_")
"""How BIDS names begin; elsewhere "sub" is a subtraction, and so it is in "sub-T1_tra" and "SUB-AX_T1"."""


def _words(text: str) -> str:
    return re.sub(r"[_\-./\\]+", " ", plain_text(_SUBJECT.sub("", text)))


def kinds_of_text(text: str) -> tuple[str, ...]:
    """Return the sequences that a series description or a file name may mean; none if it says nothing.

    Several are a question that timing, the contrast agent's tag or the user must answer: a T1 FLAIR is T1 with fluid
    dark, and ``T1 post op`` says nothing about contrast agent.
    """
    words, agent = _words(text), agent_in_text(text)
    given = agent not in (SILENT, NO, UNCLEAR)
    first = bool(_T1.search(words)) or (bool(_WITH_AGENT.search(words)) and given)
    second, density = bool(_T2.search(words)), bool(_PD.search(words))
    t1 = ("t1", "t1ce") if agent == UNCLEAR else ("t1ce",) if given else ("t1",)
    if _FLAIR.search(words):
        return ("flair", *t1) if first else ("flair",)
    if _ADC.search(words):
        return ("adc",)
    if _DWI.search(words):
        return ("dwi",)
    if first and not second:
        return t1
    if first or _DIFFUSION.search(words):  # T1 and T2: a guess would be worth nothing
        return ()
    return (*(("t2",) if second else ()), *(("pd",) if density else ()))


def kind_of_text(text: str) -> str:
    """Return the sequence that a series description or a file name means, or an empty text."""
    found = kinds_of_text(text)
    return found[0] if len(found) == 1 else ""


def no_sequence(text: str) -> bool:
    """Whether a description or file name means something other than a sequence, such as a localiser."""
    words = _words(text)
    if _OTHER.search(words):
        return True
    return bool(_DIFFUSION.search(words)) and not (_ADC.search(words) or _DWI.search(words))


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

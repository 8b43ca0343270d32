"""Which DICOM series is which sequence: what the scanner calls it, and what its tags say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.names import readable
from anyadbench.predict.prepare.contrast import NO, SILENT, UNCLEAR, WEAK, YES, agent_in_text
from anyadbench.predict.prepare.kinds import kind_of_timing, kinds_of_text, no_sequence
from anyadbench.predict.series.stack import shown

_SERIES, _MODALITY, _DESCRIPTION, _PROTOCOL = "0020|000e", "0008|0060", "0008|103e", "0018|1030"
_REPETITION, _ECHO, _INVERSION, _AGENT, _TYPE = "0018|0080", "0018|0081", "0018|0082", "0018|0010", "0008|0008"
_B_VALUE = "0018|9087"

_WANTED = (
    _SERIES, _MODALITY, _DESCRIPTION, _PROTOCOL, _REPETITION, _ECHO, _INVERSION, _AGENT, _TYPE, _B_VALUE,
)  # fmt: skip

_NO_AGENT = frozenset({"none", "no", "n", "0", "false", "nein", "ohne", "without", "non", "nativ", "-", "null", "n/a"})

_BOTH = ("t1", "t1ce")

_BY_AGENT: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    YES: (("t1ce",), ("t1ce",), _BOTH),
    WEAK: (("t1ce",), _BOTH, ("t1",)),
    UNCLEAR: (("t1ce",), _BOTH, ("t1",)),
    SILENT: (("t1ce",), ("t1",), ("t1",)),
    NO: (_BOTH, ("t1",), ("t1",)),
}
"""What a T1 is, by what its text says and whether its tag names an agent, is empty or missing, or denies one.

An empty or missing tag says nothing, because many scanners never fill it; text and tag that contradict each other are a
question for the user.
"""


@dataclass(frozen=True)
class Candidate:
    """A file or series that may be a sequence.

    Attributes:
        path: NIfTI file, or the first file of a DICOM series.
        kinds: The sequences that it may be; none if it seems to be no sequence.
        text: What it is recognised from, as it may be shown to the user.
        members: Its files.
        series: Whether they are DICOM.
        broken: Whether it cannot be read.
    """

    path: Path
    kinds: tuple[str, ...]
    text: str
    members: tuple[Path, ...] = ()
    series: bool = False
    broken: bool = False

    def holds(self, path: Path) -> bool:
        """Whether a path that the user gave means this one."""
        same = path.resolve()
        folder = self.series and any(same == member.parent.resolve() for member in self.members)
        return folder or any(same == member.resolve() for member in self.members)


def told(path: Path) -> str:
    """Return a path as it may be shown: readable, and without control characters."""
    return shown(readable(str(path)), 200)


def series_candidates(folder: Path, files: list[Path]) -> list[Candidate]:
    """Return the MR series of DICOM files, and those that cannot be read with the cause.

    Raises:
        UserError: If SimpleITK is not installed, or there are series and all are of another modality.
    """
    groups: dict[tuple[Path, str], list[tuple[Path, dict[str, str]]]] = {}
    broken: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        try:
            tags = _tags(path)
        except (ValueError, OSError) as error:
            broken.setdefault((path.parent, getattr(error, "strerror", None) or str(error)), []).append(path)
            continue
        if tags is not None:  # a DICOMDIR or a report has no pixels
            groups.setdefault((path.parent, tags.get(_SERIES, "")), []).append((path, tags))
    modalities = {members[0][1].get(_MODALITY, "MR") for members in groups.values()}
    if groups and "MR" not in modalities:
        kinds = ", ".join(shown(name) for name in sorted(modalities))
        raise UserError(f"--scan {folder} holds DICOM of the modality {kinds} and no MR; give the folder of an MRI.")
    found = [_unreadable(folder, cause, paths) for (_, cause), paths in broken.items()]
    for members in groups.values():
        path, tags = members[0]
        if tags.get(_MODALITY, "MR") == "MR":
            # Neither names nor dates: only what the scanner calls the series.
            label = shown(tags.get(_DESCRIPTION) or tags.get(_PROTOCOL) or "no description", 64)
            text = f"{told(path.relative_to(folder))} '{label}', {len(members)} files"
            paths = tuple(member for member, _ in members)
            found.append(Candidate(path, kinds_of_series([each for _, each in members]), text, paths, series=True))
    return found


def kinds_of_series(files: list[dict[str, str]]) -> tuple[str, ...]:
    """Return the sequences that a series may be, from the tags of its files; none if it seems to be no sequence."""
    tags = files[0]
    texts = [tags.get(_DESCRIPTION, ""), tags.get(_PROTOCOL, "")]
    whole = " | ".join([*texts, tags.get(_TYPE, "")])
    kinds = next((kinds for text in (*texts, whole) if (kinds := kinds_of_text(text))), ())
    if no_sequence(whole):
        return ()
    if diffusion := kinds_of_text(tags.get(_TYPE, "").replace("\\", " ")):
        kinds = diffusion if diffusion[0] in ("dwi", "adc") else kinds
    weights = {value for each in files if (value := _number(each.get(_B_VALUE, ""))) is not None}
    if weights and kinds in ((), ("dwi",)):  # several b-values are several volumes
        return ("dwi",) if len(weights) == 1 and min(weights) >= 500 else ()
    timing = kind_of_timing(*(_number(tags.get(tag, "")) for tag in (_REPETITION, _ECHO, _INVERSION)))
    kinds = _timed(kinds, timing, _number(tags.get(_ECHO, "")))
    if set(kinds) & set(_BOTH):
        others = tuple(kind for kind in kinds if kind not in _BOTH)
        return (*others, *_by_agent(texts, tags.get(_AGENT, "")))
    return kinds


def _timed(kinds: tuple[str, ...], timing: str, echo: float | None) -> tuple[str, ...]:
    """Return the sequences that the times leave of those that a text leaves."""
    if not kinds:
        return (timing,) if timing else ()
    if set(kinds) == {"t2", "pd"} and echo is not None:
        return ("pd",) if echo < 40 else ("t2",) if echo > 60 else kinds
    if len(kinds) > 1 and (left := tuple(kind for kind in kinds if kind.removesuffix("ce") == timing)):
        return left
    return kinds


def _by_agent(texts: list[str], tag: str) -> tuple[str, ...]:
    said = [agent_in_text(text) for text in texts if set(kinds_of_text(text)) & set(_BOTH)]
    text = next((meaning for meaning in said if meaning != SILENT), SILENT)
    value = tag.strip().lower()
    given, unknown, none = _BY_AGENT[text]
    if not value:
        return unknown
    return none if value in _NO_AGENT or agent_in_text(value) == NO else given


def _unreadable(folder: Path, cause: str, paths: list[Path]) -> Candidate:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    text = f"{told(paths[0].relative_to(folder))}{more} cannot be read ({shown(cause, 120)})"
    return Candidate(paths[0], (), text, tuple(paths), series=True, broken=True)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _tags(path: Path) -> dict[str, str] | None:
    from anyadbench.predict.dicom import read_tags

    return read_tags(path, _WANTED)

"""Plain English: laboured phrases in documents and texts of the program are named, each with a better phrase.

Only prose is read: all of a document, and the strings and comments of a Python module.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SCANNED = (
    "*.md",
    "docs/**/*.md",
    "leaderboards/README.md",
    "baselines/**/*.md",
    "plugins/**/*.md",
    "anyadbench/**/*.py",
    "baselines/**/*.py",
    "plugins/**/*.py",
    "benchmarks/*.py",
    "anyadbench/boards/render/templates/*",
    "anyadbench/predict/viewer/templates/*",
    "anyadbench/protocols/builtin/*.toml",
    "anyadbench/testing/template/*.j2",
)
"""Files in plain English, as globs from the root of the repository. A file that has been cleaned is added here."""

ABSENT_SO_FAR = ("baselines/**/*.md",)
"""Globs that match no file yet."""


class Phrase(NamedTuple):
    """A banned phrase.

    Attributes:
        pattern: Regular expression for whole words in any case; a space matches any white space, line ends included.
        better: What to write instead.
        example: A text that holds it.
    """

    pattern: str
    better: str
    example: str


PHRASES = (
    Phrase(r"mend(s|ed|ing)?", "fix, repair", "shows what to mend"),
    Phrase(r"tells? (more|the|of|what|how|who|why|whether|which)", "describes, shows, reports", "this page tells more"),
    Phrase(r"cannot tell|can ?not be told", "cannot distinguish, does not know", "a test cannot tell them apart"),
    Phrase(r"(is|are|was|were|be) told", "is given, is reported, is distinguished", "the site is told so"),
    Phrase(r"told apart", "distinguished", "subjects are told apart"),
    Phrase(
        r"(stands?|stood) (in|beside|under|on|at|there)",
        "is stored in, is listed under, is shown beside",
        "the policy stands on every row",
    ),
    Phrase(r"stands? for no", "corresponds to no", "it stands for no paper"),
    Phrase(r"(is|are|was|were|be) said", "is reported, a warning says", "it is said not to seem stripped"),
    Phrase(r"as said|said aloud", "as listed, reported", "left out, as said above"),
    Phrase(r"belongs? into", "belongs in, must be imported inside", "torch belongs into functions"),
    Phrase(r"found are", "it detects", "Found are, among others: empty files"),
    Phrase(r"what (there )?is to", "what can, what must", "what there is to see"),
    Phrase(r"what there is", "what is available", "shows what there is"),
    Phrase(r"of people's", "users'", "a mistake of people's"),
    Phrase(r"in silence", "silently", "slices are dropped in silence"),
    Phrase(
        r"passe[sd] over (it|them|slices|files|scans)|(is|are) passed over", "skips", "the release passes over them"
    ),
    Phrase(r"go(es)? on (with|where|from|after|until)", "continues, resumes", "a cell goes on where it stopped"),
    Phrase(r"(can|cannot|could|may) be had", "is available", "weights that cannot be had"),
    Phrase(
        r"(that|which|it|this) (is|are) no (?!longer\b|more\b|less\b|better\b|worse\b|different\b)\w+",
        "is not a",
        "a file that is no image",
    ),
    Phrase(r"anew", "again", "builds the boards anew"),
    Phrase(r"in (the|its|their) place of", "instead of", "random weights in the place of the file"),
    Phrase(r"in (its|their) place (stands?|comes?)", "instead", "in its place stand two numbers"),
    Phrase(r"but for", "except for", "all but for one"),
    Phrase(r"costs? (only )?(itself|its own row|their own row)", "affects only", "a broken plugin costs itself alone"),
    Phrase(r"\w+'s business", "the X handles", "that is the harness's business"),
    Phrase(r"lies? (now|there)", "is now, is stored in", "where the weights lie now"),
    Phrase(r"speaks? of", "describes, mentions", "the paper speaks of it"),
    Phrase(r"(be|is|are) taken for", "counts as, is mistaken for", "a dead cell is taken for running"),
    Phrase(r"there(of|in|by)|where(of|in)|hereby|hitherto", "of it, in it", "the folder and the files therein"),
    Phrase(r"is yours to", "is up to you", "stripping is yours to do"),
)

PROSE_TOKENS = {"STRING", "COMMENT", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}
DELIMITER = re.compile(r"""^(?:[rbfu]{0,2}["']{1,3}|#+)|["']{1,3}$""", re.IGNORECASE)


class Finding(NamedTuple):
    """A banned phrase in a text: its line, the words found, and what to write instead."""

    line: int
    found: str
    better: str


def python_prose(source: str) -> str:
    """Return a module of the same shape whose code is blacked out, so that a phrase never reaches across code."""
    starts = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
    shown = [char if char.isspace() else "\0" for char in source]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in PROSE_TOKENS:
            begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            shown[begin:end] = DELIMITER.sub(lambda match: " " * len(match[0]), source[begin:end])
    return "".join(shown)


def findings(text: str) -> Iterator[Finding]:
    for phrase in PHRASES:
        whole = phrase.pattern.replace(" ", r"\s+")
        for match in re.finditer(rf"\b(?:{whole})\b", text, re.IGNORECASE):
            yield Finding(text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), phrase.better)


def check(path: Path) -> list[Finding]:
    text = path.read_text(encoding="utf-8")
    return sorted(findings(python_prose(text) if path.suffix == ".py" else text))


def scanned() -> list[Path]:
    return sorted({path for pattern in SCANNED for path in ROOT.glob(pattern)})


def test_prose_is_plain_english() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {found!r}; write: {better}"
        for path in scanned()
        for line, found, better in check(path)
    ]
    assert not problems, "\n".join(["", *problems])


@pytest.mark.parametrize("pattern", SCANNED)
def test_every_glob_finds_files(pattern: str) -> None:
    assert any(ROOT.glob(pattern)) == (pattern not in ABSENT_SO_FAR)


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.example)
def test_the_checker_finds_each_phrase_in_its_example(phrase: Phrase, tmp_path: Path) -> None:
    wrapped = phrase.example.replace(" ", "\n")
    for name, text in (
        ("page.md", f"# A page\n\n{phrase.example}.\n"),
        ("wrapped.md", f"# A page\n\n{wrapped}.\n"),
        ("docstring.py", f'"""Do it.\n\n{phrase.example}.\n"""\n'),
        ("comment.py", "\n\n# " + wrapped.replace("\n", "\n# ") + "\n"),
        ("message.py", 'x = f"{1}"\n\nprint(\n    "' + wrapped.replace("\n", ' "\n    f"') + '"\n)\n'),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        assert phrase.better in {finding.better for finding in check(path)}, name


def test_the_checker_names_the_line_and_a_better_phrase(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        '"""Fine."""\n\nvalue = 1  # what to mend\nprint("It tells "\n      "the rest.")\n', encoding="utf-8"
    )
    assert check(path) == [Finding(3, "mend", "fix, repair"), Finding(4, "tells the", "describes, shows, reports")]


def test_the_checker_reads_no_code(tmp_path: Path) -> None:
    path = tmp_path / "good.py"
    path.write_text('mend = tells = the = "amended recommended"\nprint("it tells", the, "the")\n', encoding="utf-8")
    assert check(path) == []

"""A protocol in any encoding is copied into its cells as UTF-8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import inprocess
import pytest
from job_fixture import planned

from anyadbench.launch import dispatch
from anyadbench.launch.launchers import LaunchOptions
from anyadbench.launch.progress import Display
from anyadbench.protocols.reader import read_protocol

ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_planned_cell_holds_the_protocol_in_utf_8(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '# Läsionen – größer als 3 mm\nname = "tiny"\n'
    file = tmp_path / "p.toml"
    file.write_bytes(text.encode(encoding))
    job = planned(tmp_path / "runs", protocol_file=str(file))
    monkeypatch.setattr(dispatch, "find_launcher", lambda name: lambda jobs, options: [])
    dispatch.execute([job], "none", LaunchOptions(Display(quiet=True)))
    assert (job.cell.work / "protocol.toml").read_bytes() == text.encode()


def test_a_cell_planned_again_keeps_its_protocol(tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path) -> None:
    from anyadbench.cells.inventory import list_cells
    from anyadbench.launch.replan import replan

    text = tiny_protocol.read_text().replace('title = "', 'title = "Größe: ')
    (job,) = inprocess.plan(tiny_protocol, {"phantom": tiny_phantom}, tmp_path)
    folder = replace(job, cell_id="0" * 64).save()
    (folder / "protocol.toml").write_bytes(text.encode("cp1252"))  # as an editor on the cell's folder leaves it
    (entry,) = list_cells(tmp_path)
    again = replan(entry, Display(quiet=True))
    copy = again.cell.work / "protocol.toml"
    assert again.protocol_file == str(copy) and copy.read_bytes() == text.encode()
    assert read_protocol(copy).title.startswith("Größe: ")

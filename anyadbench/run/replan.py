"""Planning a cell again from what its folder says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.plugins import find_method
from anyadbench.protocols.model import read_protocol
from anyadbench.run.jobs import Job
from anyadbench.run.plan import identified, weights_of
from anyadbench.run.sources import ProtocolData

if TYPE_CHECKING:
    from anyadbench.run.display import Display
    from anyadbench.run.inventory import Entry


def replan(entry: Entry, display: Display) -> Job:
    """Return the job of an unfinished cell with its ids as everything stands now.

    A method that was mended since has other files, so its cell is another one; the old folder is then removed.

    Raises:
        UserError: If the method, the data or the plan cannot be used any more.
    """
    folder = entry.record.folder
    old = Job.load(folder)
    file = folder / "protocol.toml"
    protocol = read_protocol(file)
    if protocol.name != old.protocol:
        raise UserError(f"{file} is not the protocol {old.protocol!r}; remove {folder} and run again.")
    descriptor, method = find_method(old.method)
    weights = weights_of(descriptor, old.params, old.weights, protocol)
    data = ProtocolData.from_paths(protocol, old.stores)
    job = identified(replace(old, protocol_file=str(file)), descriptor, method, data, weights)
    if job.cell_id == old.cell_id:
        return job
    display.note(f"{job.label}: its method, its data or anyadbench itself changed since; it becomes another cell")
    with old.cell.lock(wait=False) as had, job.cell.lock(wait=False) as free:
        if not (had and free):
            raise UserError(f"Cell {entry.name} is being run; wait for it, or stop it.")
        job.save()
        text = file.read_text(encoding="utf-8")
        target = job.cell.work / "protocol.toml"
        target.write_text(text, encoding="utf-8")
        shutil.rmtree(folder)
    return replace(job, protocol_file=str(target))

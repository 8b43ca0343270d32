"""Planning a cell again from its folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from anyadbench.cells.identity import identify, weights_of
from anyadbench.cells.job import Job
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.files import write_text
from anyadbench.plugins import find_method
from anyadbench.protocols.reader import read_protocol
from anyadbench.tables import read_text

if TYPE_CHECKING:
    from anyadbench.cells.inventory import Entry
    from anyadbench.launch.progress import Display


def replan(entry: Entry, display: Display) -> Job:
    """Return the job of an unfinished cell with ids for the present code and data.

    If the method has been fixed since, its files and so the cell's id have changed; the old folder is then removed.

    Raises:
        UserError: If the method, the data or the plan can no longer be used.
    """
    folder = entry.record.folder
    old = Job.load(folder)
    file = folder / "protocol.toml"
    protocol = read_protocol(file)
    if protocol.name != old.protocol:
        raise UserError(f"{file} is not the protocol {old.protocol!r}; remove {folder} and run again.")
    descriptor, method = find_method(old.method)
    weights = weights_of(descriptor, old.params, old.weights, protocol)
    data = ProtocolData.from_paths(protocol, old.stores, old.seed)
    ids = identify(descriptor, method, old.training, data, weights)
    job = replace(old, protocol_file=str(file), fit_id=ids.fit, cell_id=ids.cell)
    if job.cell_id == old.cell_id:
        return job
    display.note(f"{job.label}: its method, its data or anyadbench itself has changed; it becomes another cell")
    with old.cell.lock(wait=False) as had, job.cell.lock(wait=False) as free:
        if not (had and free):
            raise UserError(f"Cell {entry.name} is running; wait for it, or stop it.")
        job.save()
        text = read_text(file)
        target = job.cell.work / "protocol.toml"
        write_text(target, text)
        shutil.rmtree(folder)
    return replace(job, protocol_file=str(target))

"""A store's metadata in Croissant 1.0, the JSON-LD format for data sets of machine learning.

Source: the Croissant format specification 1.0 (MLCommons, 2024), sections "Dataset-level information", "Resources" and
"RecordSets". No file of the data is copied: ``distribution`` names the files of the store on this machine, with their
SHA-256.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.data.store.box_table import NAME as BOXES
from anyadbench.data.trees.scan_slices import FORMAT

if TYPE_CHECKING:
    import pandas as pd

    from anyadbench.data.store.store import SliceStore

CONFORMS = "http://mlcommons.org/croissant/1.0"

_ENCODING = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".npy": "application/octet-stream",
    ".blosc": "application/octet-stream",
}

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""


def croissant(store: SliceStore, card: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the JSON-LD of a store.

    Args:
        store: The store.
        card: Its summary, from ``summarise``.
        file: Where the JSON-LD will be; paths to the store's files are relative to its folder.
    """
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": f"anyadbench-{card['dataset']}",
        "alternateName": card["title"],
        "description": _description(card),
        "license": card["licence"],
        "url": _url(card["where"]),
        "citeAs": card["citation"],
        "version": f"{FORMAT}.0.0",
        "identifier": card["content_hash"],
        "isLiveDataset": False,
        "keywords": ["brain", "MRI", "anomaly detection", *card["sequences"]],
        "distribution": [_file_object(name, card["files"][name], store.path, file) for name in card["files"]],
        "recordSet": [
            _record_set("scans", "One record for each scan.", "scans.csv", store.scans, "scan"),
            _record_set("slices", "One record for each axial slice.", "slices.csv", store.slices, "row"),
            *_boxes(store),
        ],
    }


def _description(card: Mapping[str, Any]) -> str:
    sequences = ", ".join(f"{name} in {own['scans']}" for name, own in card["sequences"].items())
    return (
        f"{card['title']}. Slice store made by anyadbench: {card['slices']} axial slices of {card['scans']} scans of "
        f"{card['subjects']} subjects ({card['healthy_subjects']} healthy); scans by sequence: {sequences}; "
        f"{card['scans_with_lesions']} scans have lesions. {card['notes']}"
    ).strip()


def _url(where: str) -> str:
    """Return the first address in a text about where a data set is; the specification asks for one."""
    found = next((word.strip(",;()") for word in where.split() if word.startswith(("http://", "https://"))), "")
    return found or "https://schema.org/Dataset"


def _file_object(name: str, facts: Mapping[str, Any], store: Path, file: Path) -> dict[str, Any]:
    path = os.path.relpath(store / name, file.resolve().parent)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": facts["what"],
        "contentSize": f"{facts['bytes']} B",
        "contentUrl": Path(path).as_posix(),
        "encodingFormat": _ENCODING[Path(name).suffix],
        "sha256": facts["sha256"],
    }


def _boxes(store: SliceStore) -> list[dict[str, Any]]:
    """Return the record set of the boxes; they have no key, since a slice may have several."""
    if store.boxes is None:
        return []
    import pandas as pd

    table = pd.read_csv(store.path / BOXES, dtype={"row": "int64"})
    found = _record_set("boxes", "One record for each box that marks a lesion.", BOXES, table, "row")
    return [{name: value for name, value in found.items() if name != "key"}]


def _record_set(name: str, what: str, file: str, table: pd.DataFrame, key: str) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "description": f"Column {column} of {file}.",
            "dataType": _type(table[column]),
            "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
        }
        for column in table.columns
    ]
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "key": {"@id": f"{name}/{key}"},
        "field": fields,
    }  # fmt: skip


def _type(column: pd.Series) -> str:
    return {"b": "sc:Boolean", "i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float"}.get(column.dtype.kind, "sc:Text")

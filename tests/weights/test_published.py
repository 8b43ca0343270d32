"""Whole published networks with ``--weights file:``: evaluated unchanged, strictly."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path

import grid_fixture
import pytest
import torch
from inp_fixture import build
from safetensors.torch import save_file

import anyadbench
from anyadbench.boards.aggregate.flags import variant_flags
from anyadbench.errors import UserError
from anyadbench.predict.card import card_markdown
from anyadbench.predict.cell import read_cell
from anyadbench.weights import resolve
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_baselines.descriptors import INPFORMER, PIXELSTATS

State = dict[str, torch.Tensor]


def published_state(registers: bool = True) -> State:
    """Return a tiny network in the authors' naming, as saved by their training."""
    torch.manual_seed(3)
    method = build(INPFORMER, registers=registers)
    state = {}
    for name, value in method.network.state_dict().items():  # type: ignore[union-attr, operator]
        state[name.replace("encoder.vit.", "encoder.").replace("reg_token", "register_tokens")] = value.clone()
    table = state["encoder.pos_embed"]
    state["encoder.pos_embed"] = torch.cat([torch.full_like(table[:, :1], 0.1), table], dim=1)
    state["encoder.mask_token"] = torch.zeros(1, table.shape[2])
    return state


def run(method: str, weights: str, protocol: Path, data: Path, runs: Path) -> subprocess.CompletedProcess[str]:
    options = ["--protocol", protocol, "--data", data, "--runs", runs, "--keep-maps", "none"]
    return grid_fixture.run("run", "--method", method, "--weights", weights, *options)


@pytest.fixture(scope="module")
def evaluated(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, State, Path]:
    """The cell of a published network, the network, and its file."""
    folder = tmp_path_factory.mktemp("published")
    state = published_state()
    torch.save({"model": state}, folder / "net.pth")
    done = run("inpformer", f"file:{folder / 'net.pth'}", tiny_protocol, tiny_phantom, folder / "runs")
    assert done.returncode == 0, done.stderr
    (cell,) = (folder / "runs" / "cells").glob("inpformer_*")
    return cell, state, folder / "net.pth"


def test_a_published_network_is_scored_without_training(evaluated: tuple[Path, State, Path]) -> None:
    cell, state, _ = evaluated
    method = anyadbench.load(cell).method
    assert torch.equal(method.network.prototype_token, state["prototype_token"])  # type: ignore[union-attr]
    assert torch.equal(method.network.encoder.vit.reg_token, state["encoder.register_tokens"])  # type: ignore[union-attr]
    (fit,) = (cell.parent.parent / "fits").glob("inpformer-*[0-9a-f]")
    record = json.loads((fit / "fit.json").read_text())
    assert (record["steps"], record["train_slices"]) == (0, 0)


def test_the_result_the_board_and_the_card_say_so(evaluated: tuple[Path, State, Path]) -> None:
    result = read_cell(evaluated[0]).result
    assert result.weights.kind == "checkpoint"
    assert result.weights.sha256
    assert "published network in net.pth" in result.weights.provenance
    assert result.train["source"] == "published checkpoint, not trained"
    assert "published checkpoint" in variant_flags(result)
    board = evaluated[0].parent.parent / "boards" / "tiny" / "report.html"
    assert "published checkpoint" in board.read_text()
    assert "published checkpoint, not trained" in card_markdown(read_cell(evaluated[0]))


def test_another_method_of_the_network_takes_the_same_file(
    evaluated: tuple[Path, State, Path], tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path
) -> None:
    save_file(evaluated[1], tmp_path / "net.safetensors")
    found = resolve(f"file:{tmp_path / 'net.safetensors'}", ANYAD.weights, checkpoint=ANYAD.checkpoint)
    assert found.kind == "checkpoint"
    assert found.published().keys() == evaluated[1].keys()


def test_a_moved_file_is_given_by_its_path_and_recognised_by_its_hash(
    evaluated: tuple[Path, State, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    cell, _, file = evaluated
    moved = file.rename(tmp_path / "moved.pth")
    try:
        with pytest.raises(UserError, match=r"started from the weights .*net.pth, which no longer exist; give"):
            anyadbench.load(cell)
        predictor = anyadbench.load(cell, weights=f"file:{moved}")
        assert predictor.own
    finally:
        moved.rename(file)
    with pytest.raises(UserError, match=r"there is no such file"):
        anyadbench.load(cell, weights="file:nowhere.pth")


def test_a_published_network_can_replace_the_trained_state_of_a_cell(
    evaluated: tuple[Path, State, Path], trained_cells: dict[str, Path], tiny_phantom: Path
) -> None:
    predictor = anyadbench.load(trained_cells["anyad"], weights=f"file:{evaluated[2]}")
    assert not predictor.own
    assert any("replaces the cell's trained state" in note for note in predictor.notes)
    path = tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz"
    found = predictor.predict({"flair": path})
    assert found.threshold is None and found.mask is None
    own = anyadbench.load(evaluated[0]).predict({"flair": path})
    torch.testing.assert_close(torch.from_numpy(found.map), torch.from_numpy(own.map), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("decoder.3.attn.learn_scale"), "lacks 'decoder.3.attn.learn_scale' (1 missing)"),
        (lambda s: s.pop("encoder.cls_token"), "lacks 'encoder.cls_token'; give the whole state dict"),
        (lambda s: s.update(extra=torch.zeros(1)), "has 'extra', which this network does not have"),
        (lambda s: s.update(prototype_token=torch.zeros(4, 64)), "'prototype_token' of shape (4, 64), but"),
    ],
)
def test_a_network_that_does_not_fit_fails_with_one_sentence(
    change, sentence: str, tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    from anyadbench.methods.contract import Context

    state = published_state()
    change(state)
    torch.save(state, tmp_path / "net.pth")
    weights = resolve(f"file:{tmp_path / 'net.pth'}", INPFORMER.weights, checkpoint=INPFORMER.checkpoint)
    params = INPFORMER.resolve("tiny")
    with pytest.raises(UserError) as caught:
        method = INPFORMER.build(Context(params, ("flair", "t1", "t2"), (40, 40), weights))
        method.load_published(weights.published())
    assert sentence in str(caught.value)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of a weights file ran",)


def test_a_pickle_with_code_is_refused_and_not_run(tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path) -> None:
    with (tmp_path / "net.pth").open("wb") as file:
        pickle.dump({"model": Harmful()}, file)
    done = run("inpformer", f"file:{tmp_path / 'net.pth'}", tiny_protocol, tiny_phantom, tmp_path / "runs")
    assert done.returncode == 2
    assert "holds Python objects, not only tensors, or is cut short" in done.stderr
    assert "code of a weights file ran" not in done.stdout + done.stderr


def test_an_encoder_alone_is_still_weights_to_train_from(tmp_path: Path) -> None:
    encoder = {k.removeprefix("encoder."): v for k, v in published_state().items() if k.startswith("encoder.")}
    torch.save(encoder, tmp_path / "encoder.pth")
    spec = f"file:{tmp_path / 'encoder.pth'}"
    assert resolve(spec, INPFORMER.weights, checkpoint=INPFORMER.checkpoint).kind == "file"
    assert resolve(spec, PIXELSTATS.weights, checkpoint=PIXELSTATS.checkpoint).kind == "none"


def test_a_method_without_an_encoder_takes_its_published_network_alone(tmp_path: Path) -> None:
    save_file({"own.weight": torch.zeros(2)}, tmp_path / "whole.safetensors")
    found = resolve(f"file:{tmp_path / 'whole.safetensors'}", {}, checkpoint=("own.weight",))
    assert (found.kind, found.name, found.architecture) == ("checkpoint", "checkpoint", "")
    assert found.published().keys() == {"own.weight"} and "The published network in whole.saf" in found.provenance
    assert resolve("published", {}, checkpoint=("own.weight",)).kind == "none"
    with pytest.raises(
        UserError, match=r"is not the network that the method's authors published \(it has no 'other'\)"
    ):
        resolve(f"file:{tmp_path / 'whole.safetensors'}", {}, checkpoint=("other",))
    with pytest.raises(
        UserError, match=r"there is no such file; pass the path .* network that the method's authors pub"
    ):
        resolve(f"file:{tmp_path / 'missing.pth'}", {}, checkpoint=("other",))


def test_only_checkpoints_have_published_tensors() -> None:
    with pytest.raises(ValueError, match="are not a published checkpoint"):
        resolve("random", INPFORMER.weights).published()


def test_weights_that_are_not_the_cells_are_refused(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    for method in ("pixelstats", "anyad"):
        with pytest.raises(UserError, match=r"the cell used no weights file \((none|random)\); leave"):
            anyadbench.load(trained_cells[method], weights=f"file:{tmp_path / 'other.safetensors'}")


def test_a_changed_file_is_noticed(evaluated: tuple[Path, State, Path], tmp_path: Path) -> None:
    cell, _, file = evaluated
    moved = file.rename(tmp_path / "moved.pth")
    try:
        save_file({"x": torch.zeros(1)}, file)
        with pytest.raises(UserError, match=r"net.pth, which have changed since; give their path"):
            anyadbench.load(cell)
        with pytest.raises(UserError, match=r"is not the file that the cell started from \(checkpoint:"):
            anyadbench.load(cell, weights=f"file:{file}")
    finally:
        moved.replace(file)

"""Every built-in protocol end to end, on tiny trees with the names of the real releases."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from inprocess import plan, run
from trees import anatomy, make_tree, path_of, save, values_of

from anyadbench.boards.verify.submission import check
from anyadbench.cli import main
from anyadbench.errors import UserError
from anyadbench.plugins import find_method
from anyadbench.protocols import find_protocol, protocol_files

SETS = (
    "brats2018", "mu", "pretreat", "mslub", "phantom", "phantom-shift", "ixi", "wmh2017", "isles2022", "atlas", "mets",
    "phantom-dev", "nova",
)  # fmt: skip
FROM_IXI = sorted(name for name in protocol_files() if name.startswith("ixi-") and name != "ixi-nova")
"""All that train on IXI at its own size; ixi-nova resizes."""

SHARED_FITS = [
    ("brats-7subsets", "cross-brats-mu"),
    ("brats-7subsets", "zeroshot-brats-t1ce"),
    ("brats-7subsets", "zeroshot-brats-pretreat"),
    ("mu-7subsets", "cross-mu-brats"),
    ("mu-7subsets", "zeroshot-mu-t1ce"),
    ("mu-7subsets", "zeroshot-mu-pretreat"),
    ("phantom-7subsets", "phantom-shift"),
]

TWINS = [
    ("phantom-healthy", "phantom-7subsets"),
    ("ixi-brats", "brats-7subsets"),
    ("ixi-mslub", "mslub-7subsets"),
    ("ixi-mu", "mu-7subsets"),
    ("ixi-mets", "mets-7subsets"),
    ("ixi-wmh2017", "wmh2017-3subsets"),
    ("ixi-atlas", "atlas-1subset"),
]
"""Protocols with the same test slices that differ in the source of normals."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    # Different numbers give different heads: the sets must not share an image.
    # WMH 2017 has other pathology higher up, so its lesion-free slices lie above that.
    shapes = {name: (40, 40, 20 if name == "wmh2017" else 12) for name in SETS}
    made = {
        name: make_tree(name, root / name, range(10 * i + 1, 10 * i + 7), shapes[name]) for i, name in enumerate(SETS)
    }
    made["many"] = make_tree("phantom", root / "many", range(301, 325))
    for number in range(901, 907):
        healthy_phantom(made["phantom"], number)
    return made


def healthy_phantom(root: Path, number: int) -> None:
    """Add a healthy subject, without a segmentation."""
    name = f"Phantom-H_{number}_1"
    for kind in ("flair", "t1", "t1ce", "t2"):
        save(root / f"HGG/{name}/{name}_{kind}.nii.gz", anatomy(number, (40, 40, 12), kind))


def data_of(name: str, trees: dict[str, Path]) -> dict[str, Path]:
    protocol = find_protocol(name)
    if protocol.shots:  # as many subjects to choose from as it trains on
        return {"phantom": trees["many"]}
    return {dataset: trees[dataset] for dataset in protocol.datasets}


@pytest.mark.parametrize("name", sorted(protocol_files()))
def test_a_protocol_runs_and_fills_every_row(name: str, trees: dict[str, Path], tmp_path: Path) -> None:
    protocol = find_protocol(name)
    (done,) = run(name, data_of(name, trees), tmp_path)
    for test in protocol.tests:
        rows = done.rows(test.name)
        assert tuple(rows) == protocol.rows(test)
        boxed = test.dataset == "nova"  # boxes instead of masks, and no normal picture
        assert all(bool(row.n_normal) != boxed and row.n_abnormal for row in rows.values())
        assert all(row.feed == dict(test.feed) for row in rows.values())
        assert all((row.metrics["pixel_auroc"] is None) == boxed for row in rows.values())
        assert all((row.boxes is not None) == boxed for row in rows.values())
    assert check(tmp_path).problems == []


@pytest.mark.parametrize(("source", "other"), SHARED_FITS)
def test_a_transfer_takes_the_model_of_its_source_protocol(
    source: str, other: str, trees: dict[str, Path], tmp_path: Path
) -> None:
    (first,) = run(source, data_of(source, trees), tmp_path)
    record = first.job.fit.final / "fit.json"
    before = record.stat().st_mtime_ns
    (second,) = run(other, data_of(other, trees), tmp_path)
    assert second.job.fit_id == first.job.fit_id and second.job.cell_id != first.job.cell_id
    assert record.stat().st_mtime_ns == before
    assert len([path for path in (tmp_path / "fits").iterdir() if path.is_dir()]) == 1


def test_all_protocols_that_train_on_ixi_share_one_fit(trees: dict[str, Path], tmp_path: Path) -> None:
    jobs = [job for name in FROM_IXI for job in plan(name, data_of(name, trees), tmp_path)]
    assert len(FROM_IXI) == len(jobs) == len({job.cell_id for job in jobs}) == 7
    assert len({job.fit_id for job in jobs}) == 1


def test_the_plan_says_who_is_healthy_and_whose_pixels_differ(
    trees: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = make_tree("ixi", tmp_path / "wide", range(61, 67))
    for path in wide.rglob("*.nii.gz"):
        save(path, values_of(path), np.diag([-1.25, -1.25, 1.0, 1.0]))
    data = {**data_of("ixi-mslub", trees), "ixi": wide}
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", "ixi-mslub", "--method", "pixelstats", "--runs", str(tmp_path / "none"),
              *(f"--data={name}={path}" for name, path in data.items())])  # fmt: skip
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "slices of healthy subjects of ixi (4 subjects); validates on" in said
    assert "healthy subjects of ixi: 4 to train, 1 to validate, 1 to test" in said
    assert "pixels are 1.25 x 1.25 mm in ixi and 1 x 1 mm in mslub: a method sees anatomy of another size" in said


@pytest.mark.parametrize(("healthy", "lesion_free"), TWINS)
def test_the_source_of_normals_leaves_the_test_slices_alone(
    healthy: str, lesion_free: str, trees: dict[str, Path]
) -> None:
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.engine.protocol_data import ProtocolData

    tested, trained = [], []
    for name in (healthy, lesion_free):
        stores = {dataset: find_or_prepare(tree, dataset) for dataset, tree in data_of(name, trees).items()}
        data = ProtocolData(find_protocol(name), stores)
        (test,) = data.protocol.tests
        tested.append([stores[test.dataset].slices.iloc[rows]["key"].tolist() for rows in data.test_indices(test)])
        train = stores[data.protocol.train]
        trained.append(set(train.slices["subject"].iloc[data.train_indices()]) <= train.healthy_subjects)
    assert tested[0] == tested[1] and tested[0][0]
    assert trained == [True, False]


def test_a_feed_puts_the_other_sequence_into_every_slot(trees: dict[str, Path]) -> None:
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.engine.protocol_data import ProtocolData

    protocol = find_protocol("zeroshot-brats-t1ce")
    data = ProtocolData(protocol, {"brats2018": find_or_prepare(trees["brats2018"], "brats2018")})
    (test,) = protocol.tests
    rows = data.train_indices()[:2]
    fed, _ = data.reader("brats2018", test.feed).read(rows)
    own, _ = data.reader("brats2018").read(rows)
    assert (fed == fed[:, :1]).all() and not any((fed[:, 0] == own[:, place]).all() for place in range(3))


def test_a_set_without_the_fed_sequence_is_refused(trees: dict[str, Path], tmp_path: Path) -> None:
    tree = Path(shutil.copytree(trees["brats2018"], tmp_path / "tree"))
    for path in tree.rglob("*_t1ce.nii.gz"):
        path.unlink()
    with pytest.raises(UserError, match="no scan of brats2018 has T1ce, which zeroshot-brats-t1ce tests"):
        run("zeroshot-brats-t1ce", {"brats2018": tree}, tmp_path / "runs")
    with pytest.raises(UserError, match="no scan of brats2018 has T1ce, which brats-15subsets trains on"):
        run("brats-15subsets", {"brats2018": tree}, tmp_path / "runs")


def test_the_released_protocol_is_an_oracle_on_result_and_board(trees: dict[str, Path], tmp_path: Path) -> None:
    from anyadbench.boards import build_boards

    run("brats-7subsets", data_of("brats-7subsets", trees), tmp_path)
    (done,) = run("brats-7subsets-released", data_of("brats-7subsets-released", trees), tmp_path)
    assert done.result.kind == "oracle" and done.result.protocol.oracle
    assert done.result.method.params["smoothing_size"] == 1
    build_boards(tmp_path, tmp_path / "boards", "brats-7subsets-released")
    page = (tmp_path / "boards" / "brats-7subsets-released" / "leaderboard.csv").read_text()
    assert "oracle" in page


def test_lesions_that_the_crop_loses_are_counted_and_flagged(trees: dict[str, Path], tmp_path: Path) -> None:
    from anyadbench.boards import build_boards

    tree = Path(shutil.copytree(trees["brats2018"], tmp_path / "tree"))
    for number in range(1, 7):
        seg = np.zeros((40, 40, 12), np.uint8)
        seg[:2, 10:25, 2] = 1  # 15 x 2 pixels in the margin, and a lesion in the middle one slice above
        seg[15:25, 15:25, 3] = 1
        save(path_of("brats2018", tree, number, "seg"), seg)
    (whole,) = run("brats-7subsets", {"brats2018": tree}, tmp_path / "runs")
    (cropped,) = run("brats-7subsets-released", {"brats2018": tree}, tmp_path / "runs")
    assert {row.n_emptied for row in whole.result.rows} == {0}
    for row in cropped.result.rows:
        assert row.n_emptied == row.n_abnormal / 2 > 0
    assert check(tmp_path / "runs").problems == []
    build_boards(tmp_path / "runs", tmp_path / "boards", "brats-7subsets-released")
    assert "lesions out of view" in (tmp_path / "boards" / "brats-7subsets-released" / "leaderboard.csv").read_text()


LARGE = [("inpformer", name) for name in ("brats-7subsets", "ixi-nova", "phantom-7subsets")]
"""INP-Former takes gigabytes in training: once with each profile of weights, and once on a test set of boxes."""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), [*(("stfpm", name) for name in sorted(protocol_files())), *LARGE])
def test_a_trained_method_runs_on_every_protocol(
    method: str, name: str, trees: dict[str, Path], tmp_path: Path
) -> None:
    (done,) = run(name, data_of(name, trees), tmp_path, [method])
    assert done.result.train["steps"] == find_method(method)[0].resolve("tiny")["steps"] > 0
    assert all((row.metrics["image_ap"] is None) == (row.boxes is not None) for row in done.result.rows)
    assert all(row.boxes is None or row.boxes.metrics["hit_rate"] is not None for row in done.result.rows)

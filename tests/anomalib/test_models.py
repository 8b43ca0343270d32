"""Every model of anomalib: listed without importing it, built offline, trained, scored from shown sequences, saved.

One file, because importing anomalib takes longer than all its fast tests together.
"""

from __future__ import annotations

import importlib
import inspect
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib_fixture import DESCRIPTORS, RUNNABLE, fitted, installed, needed_files, normals, tried
from baseline_fixture import Loop, build
from inp_fixture import training_batch
from inprocess import plan, run
from kit_fixture import failures

from anyadbench.engine.checkpoints import load_checkpoint, save_checkpoint
from anyadbench.errors import UserError
from anyadbench.launch.plan import expand_methods
from anyadbench.methods.contract import Batch, Context, Method
from anyadbench.methods.freezing import excluded_names
from anyadbench.plugins import code_hash, find_method
from anyadbench.weights import resolve

pytestmark = installed

PHANTOM = (
    "padim", "patchcore", "dinomaly", "anomaly_dino", "reverse_distillation", "stfpm", "fastflow", "cfa", "dfm",
    "ganomaly", "uninet",
)  # fmt: skip
NO_CLIP = "open-clip-torch is not installed"
HUGE = ("super_add", "uflow")
"""Published backbones with 840 and 400 million parameters, which tests do not build."""


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("anomalib") / "files"
        patch.setenv("ANYADBENCH_ANOMALIB_FILES", str(folder))
        yield folder


@pytest.fixture(scope="module")
def filled(files: Path) -> Path:
    return needed_files(files)


def prepared(name: str, request: pytest.FixtureRequest) -> None:
    if name == "winclip":
        pytest.importorskip("open_clip", reason=NO_CLIP)
    if any(param.name == "files" for param in DESCRIPTORS[name].params):
        request.getfixturevalue("filled")


@torch.no_grad()
def scored(method: Method, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    scores = method.score(batch)
    assert scores.images is not None
    return scores.maps, scores.images


@pytest.mark.parametrize("name", tried(RUNNABLE))
def test_a_model_scores_from_what_is_shown_and_is_restored_from_its_state(
    name: str, request: pytest.FixtureRequest
) -> None:
    prepared(name, request)
    method, batch = fitted(name), training_batch((0, 0), (1, 1), (1, 2), (2, 2))
    maps, images = scored(method, batch)
    assert maps.ndim == 3 and torch.isfinite(maps).all() and torch.isfinite(images).all() and images.shape == (4,)
    assert maps.dtype == torch.float32
    assert len(set(images.tolist())) > 1
    assert batch.targets is not None
    leaking = scored(method, Batch(batch.targets, batch.shown))
    assert torch.equal(maps, leaking[0]) and torch.equal(images, leaking[1])
    one = scored(method, Batch(batch.inputs[1:2], batch.shown[1:2]))
    assert torch.allclose(one[0][0], maps[1], atol=1e-5, rtol=1e-4)
    other = build(DESCRIPTORS[name])
    state = {key: value.clone() for key, value in method.saved_state().items()}
    assert not state.keys() & excluded_names(method)
    other.load_saved_state(state)
    again = scored(other.eval(), batch)
    assert torch.equal(maps, again[0]) and torch.equal(images, again[1])


@pytest.mark.parametrize("name", tried(list(PHANTOM)))
def test_a_model_runs_the_phantoms_protocol(name: str, tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path) -> None:
    done = run(tiny_protocol, {"phantom": tiny_phantom}, tmp_path, methods=[f"anomalib:{name}"])[0]
    rows = done.rows("phantom")
    assert {"F", "T1", "T2", "F+T1+T2"} <= set(rows)
    assert all(0 <= rows[subset].metrics["image_auroc"] <= 1 for subset in ("F", "F+T1+T2"))


@pytest.mark.parametrize("name", tried(["stfpm", "dinomaly", "cfa", "cflow", "ganomaly", "glass", "uninet"]))
def test_training_goes_on_from_a_checkpoint_as_if_never_interrupted(name: str, tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    whole = fitted(name).saved_state()
    half = build(DESCRIPTORS[name]).eval()
    with torch.no_grad():
        half.prepare(normals())
    loop = Loop(half, 2, normals=normals())
    loop.total = 1
    loop.run(training_batch())
    save_checkpoint(tmp_path, 1, half, loop.optimizers, [], scaler)
    other = build(DESCRIPTORS[name])
    again = Loop(other, 2, step=1, normals=normals())
    assert load_checkpoint(tmp_path, other, again.optimizers, scaler) == (1, [])
    state = again.run(training_batch()).method.saved_state()
    assert state.keys() == whole.keys()
    assert all(torch.equal(state[key], whole[key]) for key in state)


@pytest.mark.slow
@pytest.mark.parametrize("length", [{"epochs": 0, "steps": 12}, {"epochs": 3, "steps": 0}])
def test_dsr_trains_its_upsampling_module_in_its_last_passes(
    length: dict[str, int], request: pytest.FixtureRequest
) -> None:
    prepared("dsr", request)
    method = build(DESCRIPTORS["dsr"], batch_size=2, **length).eval()
    before = {name: value.clone() for name, value in method.state_dict().items() if "upsampling_module" in name}
    with torch.no_grad():
        method.prepare(normals())  # eight slices, two per step: three passes, the last one for upsampling
    loop = Loop(method, 12, normals=normals()).run(training_batch(size=2))
    assert loop.method.module.second_phase == 2
    assert any(not torch.equal(value, loop.method.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(("per", "factors"), [("epoch", [0, 0, 0, 0, 1, 1, 1, 1]), ("step", [0, 1, 2, 3, 4, 5, 6, 7])])
def test_the_schedule_advances_once_per_pass_as_anomalibs_or_once_per_step(per: str, factors: list[int]) -> None:
    method = build(DESCRIPTORS["dinomaly"], steps=8, schedule_per=per).eval()
    method.prepare(normals())  # eight slices, two per step
    spec = method.optimizers()["optimizer0"]
    assert spec.schedule is not None and spec.clip_norm == 0.1
    assert spec.optimizer.param_groups[0]["lr"] == 2e-3
    warmup = [99 * spec.schedule(step, 8) for step in range(8)]
    assert warmup == pytest.approx(factors)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_model_conforms(name: str, request: pytest.FixtureRequest) -> None:
    prepared(name, request)
    assert failures(f"anomalib:{name}") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNNABLE if name not in HUGE])
def test_anomalibs_own_settings_take_two_steps(name: str, request: pytest.FixtureRequest) -> None:
    prepared(name, request)
    side = next(param for param in DESCRIPTORS[name].params if param.name == "image_size")
    least = 256 if name in ("cflow", "efficient_ad") else 112 if side.multiple_of == 14 else 128
    size = int(max(side.minimum or 0, least))
    small = {"image_size": size, "batch_size": 8 if name == "dfkde" else 2}
    small |= {"n_pca_components": 4} if name == "dfkde" else {}
    method = build(DESCRIPTORS[name], profile="published", budget="paper", **small).eval()
    with torch.no_grad():
        method.prepare(normals())
    if method.optimizers():
        losses = Loop(method, 2, normals=normals()).run(training_batch(size=2)).losses
        assert losses and all(math.isfinite(value) for values in losses.values() for value in values)
    maps, images = scored(method.eval(), training_batch(size=2))
    assert torch.isfinite(maps).all() and torch.isfinite(images).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_the_demo_budget_takes_a_step(name: str, request: pytest.FixtureRequest) -> None:
    prepared(name, request)
    few = {"n_pca_components": 4} if name == "dfkde" else {}  # there are eight normals
    method = build(DESCRIPTORS[name], budget="demo", **few).eval()
    batch = training_batch(size=int(method.context.params["batch_size"]))
    with torch.no_grad():
        method.prepare(normals())
    if method.optimizers():
        losses = Loop(method, 1, normals=normals()).run(batch).losses
        assert losses and all(math.isfinite(value) for values in losses.values() for value in values)
    assert torch.isfinite(scored(method.eval(), batch)[0]).all()


def test_anomalibs_loss_of_stfpm_is_half_a_batch_times_the_published_one() -> None:
    from anomalib.models.image.stfpm.loss import STFPMLoss

    from anyadbench_baselines.stfpm import squared_distances

    torch.manual_seed(0)
    teacher = [torch.randn(6, c, s, s, dtype=torch.float64) for c, s in ((6, 8), (8, 4), (10, 2))]
    student = [torch.randn_like(level) for level in teacher]
    ours = sum(distance.mean() for distance in squared_distances(teacher, student))
    named = [{str(i): level for i, level in enumerate(levels)} for levels in (teacher, student)]
    torch.testing.assert_close(STFPMLoss()(*named), 6 / 2 * ours)


CROPPED = {"dinomaly": 448, "inp_former": 448, "rad": 512, "mh_patchcore": 256}
"""Sides before anomalib's crop, for models whose size in the table is the one after it."""


def model(name: str) -> Any:
    from anyadbench_anomalib.catalogue import MODELS

    return MODELS[name]


def module(name: str) -> Any:
    return getattr(importlib.import_module(f"anomalib.models.image.{name}.lightning_model"), model(name).cls)


def test_every_image_model_is_listed_without_importing_anomalib() -> None:
    spec = find_spec("anomalib")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "models" / "image"
    assert set(DESCRIPTORS) == {path.parent.name for path in folder.glob("*/lightning_model.py")}
    heavy = ["anomalib", "torch", "lightning", "timm", "numpy"]
    code = f"import sys, anyadbench.plugins as p; p.load_methods(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pattern_selects_them_all() -> None:
    assert set(expand_methods(("anomalib:*",))) == {f"anomalib:{name}" for name in DESCRIPTORS}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_descriptor_says_what_a_board_must_print(name: str) -> None:
    descriptor = DESCRIPTORS[name]
    assert descriptor.citation and descriptor.summary.endswith(".") and descriptor.code_licence == "Apache-2.0"
    assert all(param.doc.rstrip(".") for param in descriptor.params)
    assert all(text.endswith(".") for text in descriptor.departures)
    assert descriptor.resolve("tiny") and descriptor.resolve("demo") and descriptor.resolve("paper")


@pytest.mark.parametrize("name", RUNNABLE)
def test_parameters_have_anomalibs_defaults(name: str) -> None:
    signature = inspect.signature(module(name).__init__).parameters
    for param in model(name).own:
        default = getattr(signature[param.name].default, "value", signature[param.name].default)
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        assert param.default == (type(param.default)() if default is None else default), param.name


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_backbone_and_the_size_are_anomalibs(name: str) -> None:
    import timm

    entry, cls = model(name), module(name)
    size = CROPPED.get(name, entry.size)
    assert cls.configure_pre_processor().transform is not None
    found = cls.configure_pre_processor().transform
    resized = found if not hasattr(found, "transforms") else next(t for t in found.transforms if hasattr(t, "size"))
    assert list(resized.size)[-1] == size
    published = entry.weights.get("published")
    for argument in entry.architecture:
        default = inspect.signature(cls.__init__).parameters[argument].default
        if default == "mcait":
            default = "cait_m48_448"
        if name == "foundad":
            assert (default, published) == ("dinov2_vit_base_14", "vit_base_patch14_dinov2.lvd142m")
            continue
        assert published is not None and published.partition(".")[0] == default.partition(".")[0]
        # CFA and UniNet get torchvision's default, its second set of weights.
        if name not in ("cfa", "uninet"):
            tag = default.partition(".")[2] or timm.get_pretrained_cfg(default).tag
            assert published.partition(".")[2] == tag


@pytest.mark.parametrize("name", [name for name in DESCRIPTORS if name not in RUNNABLE])
def test_what_cannot_be_run_says_why(name: str) -> None:
    with pytest.raises(UserError, match=f"anomalib:{name} cannot be run: (it|its) "):
        build(DESCRIPTORS[name])


def test_three_models_cannot_be_run() -> None:
    assert sorted(set(DESCRIPTORS) - set(RUNNABLE)) == ["anomalyvfm", "cfm", "vlm_ad"]


def test_the_pattern_of_every_model_leaves_out_what_cannot_run_here(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANYADBENCH_ANOMALIB_FILES")
    where = ["--protocol", str(tiny_protocol), "--data", str(tiny_phantom), "--runs", str(tmp_path)]
    asked = ["run", "--method", "anomalib:*", *where, "--weights", "random", "--launcher", "shell"]
    done = subprocess.run([sys.executable, "-m", "anyadbench", *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = {name for name, descriptor in DESCRIPTORS.items() if descriptor.files}
    lacking = sorted({"anomalyvfm", "cfm", "vlm_ad"} | files)
    assert f"{', '.join(f'anomalib:{name}' for name in lacking)}." in done.stderr
    assert "anomalib:cfm: left out: anomalib:cfm cannot be run: it needs a point cloud" in done.stderr
    assert len(done.stdout.splitlines()) == len(RUNNABLE) - len(files)


def test_without_anomalib_models_are_listed_and_running_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench_anomalib import descriptors

    monkeypatch.setattr(descriptors, "installed", lambda: False)
    lacking = descriptors.describe(model("padim"))
    assert lacking.unavailable == "it needs the package anomalib; 'pip install \"anomalib==2.7.*\"' adds it"
    with pytest.raises(UserError, match=r"anomalib:padim cannot be run: it needs the package anomalib; 'pip install"):
        build(lacking)


def test_another_release_of_anomalib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench_anomalib import factory

    monkeypatch.setattr(factory, "version", lambda name: "3.0.1")
    with pytest.raises(UserError, match=r"written for anomalib 2\.7, but 3\.0\.1 is installed; run 'pip install"):
        build(DESCRIPTORS["padim"])


def test_without_a_network_in_the_profile_only_this_model_fails() -> None:
    descriptor = DESCRIPTORS["reverse_distillation"]
    params = descriptor.resolve("demo")
    weights = resolve("package", descriptor.weights_for(params))
    with pytest.raises(UserError, match=r"anomalib:reverse_distillation starts from a pretrained network that no pack"):
        descriptor.build(Context(params, ("flair", "t1", "t2"), (40, 40), weights))


def test_files_that_no_package_carries_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANYADBENCH_ANOMALIB_FILES", raising=False)
    with pytest.raises(
        UserError, match=r"anomalib:draem needs files .*dtd: .*--set anomalib:draem\.files=DIR or the env"
    ):
        build(DESCRIPTORS["draem"])
    with pytest.raises(UserError, match=r"anomalib:draem: .* has no dtd, the folder of the Describable Textures"):
        build(DESCRIPTORS["draem"], files=str(tmp_path))
    (tmp_path / "efficientad_pretrained_weights").mkdir()
    (tmp_path / "imagenette").mkdir()
    with pytest.raises(UserError, match=r"efficientad_pretrained_weights has no pretrained_teacher_small\.pth; unpack"):
        build(DESCRIPTORS["efficient_ad"], files=str(tmp_path))


CLIP_FILE = "vit_b_16_plus_240-laion400m_e31-8fb26589.pt"


def test_the_file_of_clip_is_asked_for_with_its_package_and_has_to_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from anomalib.models.image.winclip import torch_model

    with pytest.raises(UserError, match=rf"anomalib:winclip: .* has no {CLIP_FILE}, open_clip's weights laion400m_e31"):
        build(DESCRIPTORS["winclip"], files=str(tmp_path))
    torch.save({"state_dict": {"module.logit_scale": torch.zeros(())}}, tmp_path / CLIP_FILE)
    with monkeypatch.context() as patch:
        patch.setattr(torch_model, "open_clip", None)
        with pytest.raises(UserError, match="needs the package open_clip, .*; run 'pip install open-clip-torch'"):
            build(DESCRIPTORS["winclip"], files=str(tmp_path))
    pytest.importorskip("open_clip", reason=NO_CLIP)
    with pytest.raises(UserError, match=rf"{CLIP_FILE} does not fit \(.*\); replace it by open_clip's weights laion"):
        build(DESCRIPTORS["winclip"], files=str(tmp_path))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "efficientad_pretrained_weights").mkdir()
    (tmp_path / "imagenette").mkdir()
    teacher = tmp_path / "efficientad_pretrained_weights" / "pretrained_teacher_small.pth"
    torch.save({"conv9.weight": torch.zeros(1)}, teacher)
    with pytest.raises(
        UserError, match=r"efficient_ad: .*teacher_small.pth does not fit \(conv1.bias\); replace it by anom"
    ):
        build(DESCRIPTORS["efficient_ad"], files=str(tmp_path))
    teacher.write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"pretrained_teacher_small.pth is neither a safetensors nor a torch file"):
        build(DESCRIPTORS["efficient_ad"], files=str(tmp_path))


def test_clip_has_a_size_windows_and_a_normalisation_of_its_own() -> None:
    from torchvision.transforms.v2 import Normalize

    from anyadbench_anomalib.arguments import arguments
    from anyadbench_anomalib.method import CLIP_MEAN, CLIP_STD

    descriptor = DESCRIPTORS["winclip"]
    with pytest.raises(UserError, match="image_size is 224; it must lie between 240 and 240"):
        descriptor.resolve("paper", {"image_size": 224})
    for scales in ("2,x", "", "0", "16"):
        params = descriptor.resolve("paper", {"scales": scales})
        with pytest.raises(UserError, match="scales is '.*'; give integers from 1 to 15 separated by commas"):
            arguments(model("winclip"), Context(params, ("flair",), (40, 40), resolve("random", {"none": None})))
    steps = module("winclip").configure_pre_processor().transform.transforms
    (normalise,) = [step for step in steps if isinstance(step, Normalize)]
    assert (tuple(normalise.mean), tuple(normalise.std)) == (CLIP_MEAN, CLIP_STD)


@pytest.mark.slow
@torch.no_grad()
def test_winclips_windows_stand_alone_and_references_are_restored(request: pytest.FixtureRequest) -> None:
    prepared("winclip", request)
    settings: dict[str, Any] = {"scales": "15", "k_shot": 2}
    method: Any = fitted("winclip", **settings)
    inner, batch = method.module.model, training_batch((0, 0), (1, 1))
    other: Any = build(DESCRIPTORS["winclip"], scales="1,15")  # anomalib shares the number of scales among all models
    assert (len(inner.masks), len(other.module.model.masks)) == (1, 2)
    whole, (windows,), _ = inner.encode_image(method.images(batch))
    torch.testing.assert_close(windows[:, 0], whole)  # one window of all patches is the picture
    first = method.images(next(normals().batches(2)))
    assert torch.equal(inner._patch_embeddings, inner.encode_image(first)[2])
    assert len({*method.saved_state()}) == 4 and inner._text_embeddings.shape == (2, 640)
    again: Any = build(DESCRIPTORS["winclip"], **settings)
    again.load_saved_state(method.saved_state())
    assert again.module.model.k_shot == 2
    maps, images = scored(method, batch)
    restored = scored(again.eval(), batch)
    assert torch.equal(maps, restored[0]) and torch.equal(images, restored[1])


def test_the_contents_of_files_make_another_cell_and_their_place_does_not(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path
) -> None:
    def planned(folder: Path) -> tuple[str, str]:
        (job,) = plan(
            tiny_protocol,
            {"phantom": tiny_phantom},
            tmp_path,
            ["anomalib:draem"],
            [f"anomalib:draem.files={folder}"],
        )
        assert job.params["files"] == str(folder)
        return job.fit_id, job.cell_id

    (tmp_path / "here/dtd/banded").mkdir(parents=True)
    picture = tmp_path / "here/dtd/banded/banded_0002.jpg"
    picture.write_bytes(b"one")
    before = planned(tmp_path / "here")
    picture.parent.parent.parent.rename(tmp_path / "there")
    assert planned(tmp_path / "there") == before
    (tmp_path / "there/dtd/banded/banded_0002.jpg").write_bytes(b"two")
    assert set(planned(tmp_path / "there")).isdisjoint(before)


def test_a_backbone_that_does_not_fit_is_a_sentence() -> None:
    with pytest.raises(UserError, match="accepts DINOv2 and DINOv3 transformers, not resnet18.tv_in1k"):
        descriptor = DESCRIPTORS["foundad"]
        weights = resolve("random", {"published": "resnet18.tv_in1k"})
        descriptor.build(Context(descriptor.resolve("tiny"), ("flair", "t1", "t2"), (40, 40), weights))
    with pytest.raises(UserError, match="anomalib:uflow needs 448 pixels with its own backbone; set anomalib:uflow.im"):
        build(DESCRIPTORS["uflow"], profile="published", backbone="profile")


def test_timm_is_left_as_it_was() -> None:
    import timm
    import torchvision
    from timm.models import vision_transformer

    before = timm.create_model, torchvision.models.resnet18, vision_transformer.resample_abs_pos_embed
    method = build(DESCRIPTORS["anomaly_dino"])
    assert (timm.create_model, torchvision.models.resnet18, vision_transformer.resample_abs_pos_embed) == before
    assert method.supply.positions is not None  # type: ignore[union-attr]
    with method.running():  # type: ignore[operator]
        assert vision_transformer.resample_abs_pos_embed is method.supply.positions  # type: ignore[union-attr]


def test_the_code_that_computes_the_numbers_is_hashed() -> None:
    descriptor, entry = find_method("anomalib:padim")
    assert len(code_hash(entry, descriptor.factory)) == 64
    from anyadbench.plugins.code_hash import _code_files

    assert "method.py" in {path.name for path, _ in _code_files(entry, descriptor.factory)}

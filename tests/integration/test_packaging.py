"""Installed in each of the ways people install it, the plugin is found from any folder.

Always by subprocess in another folder: in the repository, or in this process, it is found without being installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from audiosvc import __version__

ROOT = Path(__file__).resolve().parents[2]
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")
INSTALL = ("install", "--no-deps", "--no-build-isolation", "--no-index")


def run(argv: Sequence[object], cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=environment, text=True, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: building leaves things behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("audiosvc", "twisted"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", *INSTALL[1:], "-w", folder, source], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment with everything this one has, except audiosvc and its plugin."""
    beneath = tmp_path / "beneath"
    beneath.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("audiosvc", "__editable__", "twisted")):
            (beneath / entry.name).symlink_to(entry)
    import twisted

    shutil.copytree(
        Path(twisted.__file__).parent,
        beneath / "twisted",
        ignore=shutil.ignore_patterns("test", "__pycache__", "audiosvc_plugin.py", "dropin.cache"),
    )
    run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], tmp_path)
    python = tmp_path / "env/bin/python"
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip()
    Path(packages, "beneath.pth").write_text(f"{beneath}\n")
    assert "audiosvc" not in run([python, *TWISTD, "--help"], tmp_path)
    return python


def assert_found(python: Path, elsewhere: Path) -> None:
    assert "audiosvc" in run([python, *TWISTD, "--help"], elsewhere)
    assert "--media-root" in run([python, *TWISTD, "audiosvc", "--help"], elsewhere)


def test_the_plugin_is_found_after_installing_the_wheel(python: Path, wheel: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "pip", "--python", python, *INSTALL, wheel], tmp_path)
    assert_found(python, tmp_path)


def test_the_plugin_is_found_after_an_editable_install(python: Path, source: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "pip", "--python", python, *INSTALL, "-e", source], tmp_path)
    assert_found(python, tmp_path)
    assert run([python, "-c", "import audiosvc; print(audiosvc.__file__)"], tmp_path).startswith(str(source))


def test_the_wheel_holds_the_package_its_data_and_the_plugin_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    pieces = {f"audiosvc/sources/pieces/{path.name}" for path in (ROOT / "audiosvc/sources/pieces").iterdir()}
    assert len(pieces) >= 2
    assert pieces | {"audiosvc/py.typed", "twisted/plugins/audiosvc_plugin.py"} <= names
    assert {name.split("/")[0] for name in names} == {"audiosvc", "twisted", f"audiosvc-{__version__}.dist-info"}
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/audiosvc_plugin.py"]

"""Packaging. Everything is said here; pyproject.toml names the build system and configures the tools."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "audiosvc/__init__.py").read_text("utf-8"), re.MULTILINE)
assert VERSION is not None

setup(
    name="audiosvc",
    version=VERSION[1],
    description="Many listeners, each with a sound of their own, as 20 ms Opus packets over one Unix socket",
    long_description=(HERE / "README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    author="audiosvc contributors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # Without this an editable install maps packages one by one and hides the plugin, which lies in no package of ours.
    package_dir={"": "."},
    packages=[*find_packages(include=["audiosvc", "audiosvc.*"]), "twisted.plugins"],
    package_data={"audiosvc": ["py.typed"], "audiosvc.sources": ["pieces/*"]},
    install_requires=[
        "Twisted[tls]>=25.5",
        "klein>=24.8",
        "treq>=25.5",
        "h11>=0.14",
        "idna>=3.7",
        "msgspec>=0.19",
        "prometheus-client>=0.22",
        "opuslib>=3.0.1",
        # Carries a libopus for machines that have none.
        "opuslib-next-bundled>=0.1.1; platform_machine in 'x86_64 aarch64 arm64'",
        # Reads the pages of web sites. For YouTube it needs the scripts too, and on PATH a deno or a node to run them.
        "yt-dlp>=2026.10.26",
        "yt-dlp-ejs>=0.8",
        # Carries an FFmpeg.
        "imageio-ffmpeg>=0.6",
        # The standard library's own until 3.12.
        "audioop-lts; python_version >= '3.13'",
    ],
    extras_require={
        "test": [
            "coverage[toml]>=7.6",
            "hypothesis>=6.100",
            # Reads the dashboard's and the alerts' expressions as Prometheus does.
            "promql-parser>=0.11",
            "pytest>=8.2",
            "pytest-twisted>=1.14",
            "PyYAML>=6",
            "schemathesis>=4",
        ],
    },
    zip_safe=False,
)

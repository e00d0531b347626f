"""Packaging of fiftyone_revseg; settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

version: dict = {}
exec((HERE / "fiftyone_revseg" / "version.py").read_text(encoding="utf-8"), version)

# What the main job needs. FiftyOne and transformers are held at the last minor release that the
# tests ran on, as private parts of both are used; `make test-newest` tries newer ones. Lower bounds
# are the oldest releases that it has to run on; torchvision must be of the same release as torch,
# so whoever has one already should have installed the other.
REQUIRES = [
    "av>=14",
    "cachetools>=5",
    "click>=8.1",
    "decord2>=3.0; platform_system != 'Windows'",  # never beside the original decord
    "filelock>=3.12",
    "fiftyone>=1.22,<1.23",
    "numpy>=1.26",
    "pillow>=10.1",
    "psutil>=5.9",
    "pycocotools>=2.0.8",
    "pyyaml>=6",
    "safetensors>=0.4.3",
    "sam2>=1.1",
    "tokenizers>=0.20",
    "torch>=2.11",
    "torchvision>=0.26",
    "tqdm>=4.66",
    "transformers>=5.15,<5.25",
]

# matplotlib and tensorboard for the curves. Reinforcement learning runs the chain as an environment
# of TRL, whose interface for that is marked experimental: one minor release, that it is tested with
TRAIN = [
    "accelerate>=1.10",
    "datasets>=4",
    "matplotlib>=3.8",
    "peft>=0.18",
    "tensorboard>=2.18",
    "trl>=1.16,<1.17",
]
SERVER = ["openai>=1.60"]  # a served model instead of a local one
RAY = ["ray>=2.40"]  # many GPUs
QUANTIZATION = ["accelerate>=1.10", "bitsandbytes>=0.46"]  # weights in fewer bits, or spread
TEST = [
    "hypothesis>=6.100",
    "playwright>=1.49",
    "pytest>=8",
    "pytest-xdist>=3.6",
    *TRAIN,
    *SERVER,
    *RAY,
    *QUANTIZATION,
]
DEV = ["mypy>=1.11", "ruff>=0.17,<0.18", *TEST]  # a formatter's output depends on its version


def for_index(readme: str) -> str:
    """Leaves out of a README what a package index cannot show: pictures and pages beside it."""
    readme = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n+(\*[^*]+\*\n+)?", "", readme, flags=re.M)
    link = re.compile(r"\[([^]]*)\]\((?!https?:)([^)]*)\)")
    return link.sub(lambda m: m[1] if m[1] == m[2] else f"{m[1]} (`{m[2]}`)", readme)


setup(
    name="fiftyone-revseg",
    version=version["__version__"],
    description="Reasoning video segmentation (ReVSeg) for FiftyOne",
    long_description=for_index((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    project_urls={"Paper": "https://arxiv.org/abs/2512.02835"},
    packages=find_packages(include=["fiftyone_revseg", "fiftyone_revseg.*"]),
    package_data={
        "fiftyone_revseg": [
            "checkpoints/**/*",
            "reasoning/**/*.txt",
            "reasoning/**/*.md",
            "**/*.yaml",
            "**/*.json",
            "**/*.js",
            "**/*.jinja",
        ]
    },
    python_requires=">=3.10,<3.13",
    install_requires=REQUIRES,
    extras_require={
        "train": TRAIN,
        "server": SERVER,
        "ray": RAY,
        "quantization": QUANTIZATION,
        "test": TEST,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["revseg = fiftyone_revseg.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

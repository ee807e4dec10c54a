"""Installs cellml. Tool settings are in pyproject.toml, exact pins in requirements*.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_version() -> str:
    """Returns the version without importing the package."""
    text = (HERE / "cellml" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('cellml/__init__.py has no line __version__ = "..."')
    return found.group(1)


# Lower bounds are the oldest versions the tests have been run with; no upper bounds except where a
# newer release is known to break us. What a fresh machine gets is pinned in requirements.lock.
INSTALL_REQUIRES = [
    # arrays, models, training
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "numpy>=2.1",
    "scipy>=1.14",
    "jaxtyping>=0.3.3",
    "ml_collections>=1.1",
    "safetensors>=0.5",
    "h5py>=3.12",  # Keras weights
    # data
    "tensorflow-datasets>=4.9.9",
    "importlib_resources>=6.4",  # imported by tensorflow-datasets, which does not declare it
    "array_record>=0.8",
    "grain>=0.2.15",
    "pandas>=2.2",
    "pyarrow>=18",
    # images
    "scikit-image>=0.25",
    "pillow>=11",
    "tifffile>=2025.1.10",
    "imagecodecs>=2025.3.30",
    "roifile>=2025.1.10",
    # molecules and graphs: for the activity pillar; required because the project's user asked for
    # one installation that carries all pillars
    "rdkit>=2025.3",
    "jraph>=0.0.6.dev0",
    # command, logs, report
    "absl-py>=2.1",
    "typer>=0.15",
    "rich>=13.9",
    "matplotlib>=3.10",
    "jinja2>=3.1.5",
    "markupsafe>=3",
    "tensorboardX>=2.6.2.2",
    "psutil>=6",
    # numbers beside our own: maps, clusters, linear baselines
    "umap-learn>=0.5.9",
    "scikit-learn>=1.5",
    "k-means-constrained>=0.7.5",
    "optuna>=4",
    # annotation in the browser: a small server, geometry, uploaded files
    "starlette>=1",
    "uvicorn>=0.40",
    "python-multipart>=0.0.20",
    "shapely>=2.1",
]

NOTEBOOKS = ["ipykernel>=6.29", "jupyterlab>=4.3"]

EXTRAS_REQUIRE = {
    "notebooks": NOTEBOOKS,
    # reference libraries that benchmarks/ compares with; never imported by the package
    "bench": [
        "torch>=2.5",
        "stardist>=0.9",
        "cellpose>=3.1",
        "copairs>=0.5.5",
        "pycytominer>=1.7.1",
        "chemprop>=2.3",
    ],
    "dev": [
        "beartype>=0.20",
        "build>=1.2",
        "copairs>=0.5.5",  # oracle of the tests of retrieval
        "httpx2>=2",  # starlette's test client
        "hypothesis>=6.120",
        "import-linter>=2.1",
        "ipykernel>=6.29",
        "keras>=3.15",  # oracle of the tests of EfficientNet; on JAX, without TensorFlow
        "ml_dtypes>=0.5",
        "nbmake>=1.5.5",
        "nbstripout>=0.8",
        "playwright>=1.50",  # drives Debian's chromium in tests of the pages
        "pre-commit>=4",
        "pycytominer>=1.7.1",  # oracle of the tests of profiles; 1.3 to 1.6 sphered wrongly
        "pyright[nodejs]>=1.1.400",
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "setuptools>=77",  # the wheel is built in a test without a network
    ],
}

setup(
    name="cellml",
    version=read_version(),
    description="Microscope images of cells to labels, features, profiles and predictions, in JAX",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    # `cellml` alone: tests, configs and launch scripts would land at the top of site-packages
    packages=find_packages(include=["cellml", "cellml.*"]),
    package_data={
        "cellml": ["py.typed"],
        "cellml.weights": [
            "pretrained/*.safetensors",
            "pretrained/*.json",
            "pretrained/*.jsonl",
            "pretrained/*.md",
            "pretrained/*.txt",
            "pretrained/*.csv",
        ],
        "cellml.annotate": ["page/*"],
        "cellml.assistant": ["data/*", "page/*", "templates/*"],
        "cellml.report": ["templates/*", "*.html", "*.css"],
        "cellml.datasets": ["*/*.md", "*/*.txt", "*/*.tsv", "*/*.csv", "*/*.bib"],
    },
    include_package_data=False,
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["cellml = cellml.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)

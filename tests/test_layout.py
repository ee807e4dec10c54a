"""Laws of the code base: documented, small files, light import, a wheel with cellml alone."""

import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cellml

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cellml"
SOURCES = sorted(
    path
    for folder in ("cellml", "configs", "launch", "tests", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
)
LINES_MAX = 400
HEAVY = ("jax", "flax", "matplotlib", "tensorflow_datasets", "pandas", "scipy", "skimage", "typer")


def public_modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(cellml.__path__, "cellml."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def public_functions(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yields the module's own public functions, and the methods of its public classes."""
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member):
            for method_name, method in vars(member).items():
                if not method_name.startswith("_") and inspect.isfunction(method):
                    yield f"{module.__name__}.{name}.{method_name}", method
        elif callable(member):
            yield f"{module.__name__}.{name}", member


def arguments(function: object) -> list[str]:
    names = list(inspect.signature(function).parameters)  # type: ignore[arg-type]
    return [name for name in names if name not in ("self", "cls")]


def is_method(name: str) -> bool:
    return name.rsplit(".", 2)[-2][:1].isupper()


def is_command(name: str) -> bool:
    """A command's docstring is its --help text, and typer lists the options."""
    return name.startswith("cellml.cli.")


def faults(name: str, function: object) -> list[str]:
    """What the docstring of one function lacks.

    A paragraph may do for one or two arguments. From three on each is named under Args, or the
    docstring says whose arguments they share; whoever has the section Args names all arguments
    there, and says what is returned.
    """
    text = inspect.getdoc(function) or ""
    if not text:
        return [f"{name}: no docstring"]
    if is_command(name) or is_method(name):  # a method may lean on its class
        return []
    if "Args:" not in text and len(arguments(function)) <= 2:
        return []
    if re.search(r"[Aa]rguments\b[^.]*\bas (in|for) `", text):  # a twin of another function
        return []
    found = []
    section = text.partition("Args:")[2]
    for argument in arguments(function):
        if not re.search(rf"\b{re.escape(argument)}\b", section):
            found.append(f"{name}: Args does not name {argument!r}")
    returns = inspect.signature(function).return_annotation  # type: ignore[arg-type]
    if returns not in (None, "None", inspect.Signature.empty) and not re.search(
        r"(Returns|Yields):|^(Returns|Yields) ", text, re.MULTILINE
    ):
        found.append(f"{name}: no Returns")
    return found


def test_every_public_function_says_what_it_takes_and_gives():
    found = [
        fault
        for module in public_modules()
        for name, function in public_functions(module)
        for fault in faults(name, function)
    ]
    assert not found, "\n".join(found)


def test_the_law_notices_what_is_missing():
    def undocumented(x):
        return x

    def half(image: int, limit_px: int) -> int:
        """Does it.

        Args:
          image: An image.
        """
        return image + limit_px

    assert faults("cellml.a.undocumented", undocumented) == ["cellml.a.undocumented: no docstring"]
    assert faults("cellml.a.half", half) == [
        "cellml.a.half: Args does not name 'limit_px'",
        "cellml.a.half: no Returns",
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_are_small_and_named_for_what_they_do(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LINES_MAX, f"{lines} lines: split it along a seam that has a name"
    assert path.stem not in ("utils", "util", "common", "helpers", "misc")


def test_packages_have_an_init_so_that_the_wheel_takes_them():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_importing_cellml_is_fast_and_light():
    code = (
        "import time; start = time.process_time(); import cellml, cellml.platform;"
        "took = time.process_time() - start; import sys;"
        f"print(took, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
        ).stdout.split(maxsplit=1)
        for _ in range(3)
    ]
    assert {heavy.strip() for _, heavy in runs} == {"[]"}
    assert min(float(took) for took, _ in runs) < 1.0  # seconds of the CPU: the machine may be busy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy, so that no build folder is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(REPOSITORY / name, copy)
    for name in ("cellml", "tests", "configs", "launch"):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    pretrained = copy / "cellml" / "weights" / "pretrained"
    pretrained.mkdir(parents=True, exist_ok=True)
    (pretrained / "probe.safetensors").write_bytes(b"weights")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    return next((copy / "dist").glob("*.whl"))


def test_wheel_installs_cellml_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        top = {name.split("/")[0] for name in names}
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt")))
    assert {name for name in top if not name.endswith(".dist-info")} == {"cellml"}
    assert "License-Expression: Apache-2.0" in metadata
    assert f"Version: {cellml.__version__}" in metadata
    assert b"cellml = cellml.cli:main" in entry_points


def test_wheel_holds_every_module_and_data_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    ours = {
        str(path.relative_to(REPOSITORY))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not sorted(ours - inside)
    assert "cellml/weights/pretrained/probe.safetensors" in inside

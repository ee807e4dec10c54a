"""`cellml profile init`: makes a project of a screen's images, and finds its nuclei."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cellml.commands.long_work import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    count,
    say,
    showing,
    terminate_as_interrupt,
)
from cellml.commands.profile_nuclei import NucleiCounts, NucleiOptions, segment_project
from cellml.data.field_tables import (
    TREATMENT,
    add_wells,
    check_fields,
    name_treatments,
    read_field_table,
    read_named_images,
)
from cellml.data.images import EXTENSIONS
from cellml.data.painting_config import read_config
from cellml.data.painting_importers import (
    Fields,
    add_platemaps,
    begin_project,
    import_locations,
    read_image_names,
    read_load_data,
)
from cellml.data.painting_project import CONFIG, METADATA, Project, open_project
from cellml.data.screen_simulation import ScreenDesign
from cellml.data.screen_simulation_project import write_project
from cellml.data.text_tables import suggestion
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError

RECORD = METADATA / "init.json"
SOURCES = ("--simulated", "--load-data", "--index", "--images")
SIDE_PX, SIDE_SIMULATED_PX = 128, 96


@dataclass(frozen=True)
class InitOptions:
    """What the user asked for; see `cellml profile init --help`.

    One of `simulated`, `load_data`, `index` and `images` is the source; `images` beside a table
    says where its files lie. Without a source the project has to be there already.
    """

    project: Path
    simulated: bool = False
    load_data: Path | None = None
    index: Path | None = None
    images: Path | None = None
    pattern: str | None = None
    channels: str | None = None
    barcodes: Path | None = None
    platemap: Path | None = None
    treatment_columns: Sequence[str] = ()
    control_values: Sequence[str] = ()
    box_size: int | None = None
    design: Sequence[str] = ()
    locations: Path | None = None
    nuclei: NucleiOptions | None = None
    workers: int = 1

    @property
    def source(self) -> str | None:
        """The option that says where the images come from; None without one."""
        given = (self.simulated, self.load_data, self.index)
        named = [name for name, value in zip(SOURCES, given, strict=False) if value]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} exclude each other")
        return named[0] if named else SOURCES[-1] if self.images else None

    def settings(self) -> dict[str, Any]:
        """What decides the project's tables, to be kept with it."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("project", "locations", "nuclei", "workers"):
            del own[name]
        if self.simulated and self.nuclei is not None:
            own["cells"] = "to be found"
        plain = {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in own.items()}
        return json.loads(json.dumps(plain))


def run(options: InitOptions, console: Console) -> int:
    """Makes a project, or goes on with one that the same command began.

    Args:
      options: See `InitOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, 1 if an image failed in segmentation, 130 if interrupted.

    Raises:
      UserError: A file is missing or wrong.
      UsageError: Options do not fit each other, or another project is in the way.
    """
    _check(options)
    try:
        with terminate_as_interrupt():
            project = _begin(options, console)
            _describe(project, console)
            return _find_nuclei(project, options, console)
    except KeyboardInterrupt:
        say(console, "Interrupted: nothing is half-written. Run the same command to go on.")
        return EXIT_INTERRUPTED


def parse_channels(text: str, *, numbered: bool) -> dict[str, str]:
    """Reads `DNA,RNA` or `w1=DNA,w2=RNA`.

    Args:
      text: Names separated by commas, each with what files or tables call it before `=`.
      numbered: What they are called is a number, by default 1, 2, ... in the order given.

    Returns:
      Names by what they are called.

    Raises:
      UsageError: A name is empty or there twice.
    """
    parts = [part.strip() for part in text.split(",")]
    pairs = [part.partition("=") for part in parts]
    channels: dict[str, str] = {}
    for number, (called, equals, name) in enumerate(pairs, 1):
        key = called if equals or not numbered else str(number)
        value = name if equals else called
        if not key or not value or key in channels or value in channels.values():
            raise UsageError(f"--channels {text}: different names expected, such as DNA,RNA,ER")
        channels[key] = value
    return channels


def parse_design(entries: Sequence[str]) -> ScreenDesign:
    """Reads `n_plates=2` and the like, fields of `ScreenDesign`; 128x128 is a shape.

    Raises:
      UsageError: An unknown field, a value of another kind, or a screen that cannot be.
    """
    default = ScreenDesign()
    changes: dict[str, Any] = {}
    for entry in (part for given in entries for part in given.split(",")):
        name, _, text = entry.strip().partition("=")
        known = [f.name for f in dataclasses.fields(ScreenDesign)]
        if name not in known:
            raise UsageError(f"--design {entry}: no {name!r}{suggestion(name, known)}")
        value = getattr(default, name)
        try:
            if name == "shape":
                height, width = text.split("x")
                changes[name] = int(height), int(width)
            elif name == "mechanisms":
                changes[name] = tuple(text.split("+"))
            else:
                changes[name] = type(value)(text)
        except ValueError as error:
            raise UsageError(f"--design {entry}: a value such as {value} expected") from error
    plates = changes.get("n_plates", default.n_plates)
    changes.setdefault("n_batches", min(default.n_batches, plates))
    try:
        return ScreenDesign(**changes)
    except ValueError as error:
        raise UsageError(f"--simulated: {error}") from error


def _check(options: InitOptions) -> None:
    source = options.source
    made = source in (None, "--simulated")  # then there is no table to read or to add to
    faults = {
        "--pattern": options.pattern is not None and source != "--images",
        "--design": bool(options.design) and source != "--simulated",
        "--images": options.images is not None and options.simulated,
        "--box-size": options.box_size is not None and source is None,
        "--locations": options.locations is not None and source == "--simulated",
        "--barcodes": options.barcodes is not None and made,
        "--platemap": options.platemap is not None and made,
        "--channels": options.channels is not None and made,
        "--treatment-column": bool(options.treatment_columns) and made,
        "--control-value": bool(options.control_values) and made,
    }
    for name, fault in faults.items():
        if fault:
            raise UsageError(f"{name} does not go with {source or 'a project that is there'}")
    if options.nuclei is not None and options.locations is not None:
        raise UsageError("--segment and --locations exclude each other")
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 expected")
    if options.box_size is not None and options.box_size < 2:
        raise UsageError(f"--box-size {options.box_size}: at least 2 px expected")
    for path in (options.images, options.locations):
        if path is not None and not path.is_dir():
            raise UsageError(f"{path}: no such folder")


def _begin(options: InitOptions, console: Console) -> Project:
    root, record = options.project, options.project / RECORD
    if options.source is None:
        if not (root / "inputs").is_dir():
            raise UsageError(f"{root}: no project there; make one from {', '.join(SOURCES)}")
        return open_project(root)
    settings, before = options.settings(), _read_record(record)
    if before is None and (root / METADATA / "index.csv").exists():
        raise UsageError(
            f"{root}: there is a project already; leave {options.source} out to add locations to "
            "it, or choose another folder"
        )
    complete = before is not None and before["state"] == "complete"
    if before is not None and complete and before["settings"] != settings:
        differing = [k for k in settings if before["settings"].get(k) != settings[k]]
        raise UsageError(
            f"{root}: the project was made with other options ({', '.join(differing)}); use them "
            "again or choose another folder"
        )
    if not complete:
        write = _simulation(options, console) if options.simulated else _import(options)
        if before is not None:
            _clear(root)
        write_json(record, {"settings": settings, "state": "writing"})
        write()
        write_json(record, {"settings": settings, "state": "complete"})
    return open_project(root)


def _clear(root: Path) -> None:
    """Removes the tables of a run that was stopped; its command may have been another one."""
    for path in (*(root / CONFIG).glob("*.json"), *(root / METADATA).glob("*.csv")):
        path.unlink()


def _simulation(options: InitOptions, console: Console) -> Callable[[], None]:
    """Checks a screen; what is returned renders it."""
    design, side = parse_design(options.design), options.box_size or SIDE_SIMULATED_PX

    def write() -> None:
        with showing("rendering fields", console) as progress:
            write_project(
                options.project,
                design,
                box_size=side,
                with_cells=options.nuclei is None,
                workers=options.workers,
                progress=progress,
            )

    return write


def _import(options: InitOptions) -> Callable[[], None]:
    """Reads and checks tables; what is returned writes the project."""
    fields = _read_fields(options)
    if listed := options.load_data or options.index:
        check_fields(fields, listed)
    if options.barcodes is not None:
        fields = add_platemaps(fields, options.barcodes, folder=options.platemap)
    elif options.platemap is not None:
        fields = add_wells(fields, options.platemap)
    columns = list(options.treatment_columns)
    if not columns:
        columns = [TREATMENT if TREATMENT in fields.table.column_names else "Metadata_Well"]
    fields, label = name_treatments(fields, columns)
    known = set(fields.table[label].to_pylist())
    for value in options.control_values:
        if value not in known:
            close = suggestion(value, sorted(known)[:20])
            raise UsageError(f"--control-value {value}: no field has it in {label}{close}")

    def write() -> None:
        project = begin_project(
            options.project,
            fields,
            label_field=label,
            control_value=options.control_values[0] if options.control_values else None,
            box_size=options.box_size or SIDE_PX,
        )
        if len(options.control_values) > 1:
            config = read_config(project.config_file)
            config["dataset"]["metadata"]["control_value"] = list(options.control_values)
            write_json(project.config_file, config)

    return write


def _read_fields(options: InitOptions) -> Fields:
    numbered = options.source == "--images" and options.pattern is None
    named = options.channels and parse_channels(options.channels, numbered=numbered)
    channels: Mapping[str, str] | None = named or None
    if options.load_data is not None:
        return read_load_data(options.load_data, images=options.images, channels=channels)
    if options.index is not None:
        return read_field_table(options.index, images=options.images, channels=channels)
    images = options.images or Path()  # never None: it is the source
    if options.pattern is not None:
        return read_named_images(images, options.pattern, channels=channels)
    if channels is None:
        raise UsageError("--images: name channels 1, 2, ... by --channels, or give a --pattern")
    files = images.rglob("*")
    folders = sorted({path.parent for path in files if path.suffix.lower() in EXTENSIONS})
    return read_image_names(folders or [images], channels=channels)


def _find_nuclei(project: Project, options: InitOptions, console: Console) -> int:
    if options.locations is not None:
        folder = options.locations
        inner = folder.name == "locations" and not (folder / "locations").is_dir()
        found = import_locations(project, folder.parent if inner else folder)
        if not found:
            raise UserError(f"{folder}: no locations of the project's fields")
        say(console, f"{found} of {len(project)} fields got locations from {folder}")
    elif options.nuclei is not None:
        with showing("finding nuclei", console) as progress:
            counts = segment_project(project, options.nuclei, progress=progress)
        _report(counts, console)
        return EXIT_FAILED if counts.failures else 0
    missing = sum(not project.locations_file(row).is_file() for row in range(len(project)))
    if missing:
        say(console, f"note: {count(missing, 'field')} without locations; --segment finds nuclei")
    return 0


def _describe(project: Project, console: Console) -> None:
    wells = {project.key(row)[:2] for row in range(len(project))}
    label = project.settings("read")["dataset.metadata.label_field"]
    treatments = set(project.index["treatment"].to_pylist()) - {None, ""}
    say(
        console,
        f"{count(len(project), 'field')} of {count(len(wells), 'well')} on "
        f"{count(len(project.plates), 'plate')}, channels {', '.join(project.channels)}; "
        f"{count(len(treatments), 'treatment')} ({label}), "
        f"{int(project.controls().sum())} fields of controls; project in {project.root}",
    )


def _report(counts: NucleiCounts, console: Console) -> None:
    before = f", {counts.skipped} had locations before" if counts.skipped else ""
    say(console, f"{counts.nuclei} nuclei in {count(counts.fields, 'field')}{before}")
    if counts.failures:
        console.print(f"{len(counts.failures)} failed:", style="bold red")
        for line in counts.failures:
            say(console, f"  {line}")


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if {"settings", "state"} <= record.keys() else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read; remove it to begin anew") from error

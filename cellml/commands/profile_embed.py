"""`cellml profile embed`: features of every cell of a store, by a network or by hand."""

import dataclasses
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped
from rich.console import Console

from cellml.commands.long_work import EXIT_INTERRUPTED, count, say, showing, terminate_as_interrupt
from cellml.commands.profile_embed_config import CLASSICAL, IMAGENET, RANDOM, follow_profile
from cellml.commands.profile_outputs import output_folder
from cellml.data.cell_batching import MASK, image_channels, own_pixels
from cellml.data.cell_measurements import measure_cells, measurement_names
from cellml.data.cell_store import CellStore, open_store
from cellml.data.feature_files import FeatureWriter
from cellml.data.feature_npz import export_npz
from cellml.data.painting_project import open_project
from cellml.data.writers import remove_temporary
from cellml.errors import UsageError, UserError
from cellml.experiment.embedding import last_embedder
from cellml.weights.downloads import fetch
from cellml.weights.registry import CELLS, model_names, resolve_model
from cellml.weights.store import file_sha256

FEATURES, NPZ = "features", "features_npz"
BATCH_SIZE = 64

Extract = Callable[[Shaped[np.ndarray, "n s s c"]], Float[np.ndarray, "n d"]]


@dataclass(frozen=True)
class EmbedOptions:
    """What the user asked for; see `cellml profile embed --help`.

    Attributes:
      project: Folder of the project.
      experiment: Name of the features: `outputs/<experiment>/features`.
      model: `classical`, `random`, `imagenet`, the name of a shipped network for cells, a weights
        file of an embedder or of a network of DeepProfiler, Keras, timm or torchvision; None for
        the configuration's checkpoint or what `outputs/<experiment>/model` holds.
      weights: Of `imagenet`: a file in Keras', timm's or torchvision's layout; None to download
        Keras' for B0 into `outputs/weights`.
      variant: Of `random`, `imagenet` and published networks: size of the network.
      layout: Of weights of others: `timm_tf`, if the file is of that kind.
      input_px: Crops are resized to this side; None for the configuration's or 224 px (`random`,
        `imagenet`), or as trained or cut.
      channel_order: Of a published network: what the channels of its first convolution stand for.
      cyclic_stem: Of a published network: whether to fit its first convolution to the channels.
      intensity: Of a published network: how each channel of a crop is scaled.
      seed: Of `random`.
      store: Name of the store in `outputs/`.
      batch_size: Cells at a time; None for the configuration's, or `BATCH_SIZE`.
      workers: Of `classical`: processes.
      npz: Whether to write DeepProfiler's files, too.
      config: File in inputs/config, where there are several.
    """

    project: Path
    experiment: str
    model: str | None = None
    weights: Path | None = None
    variant: str = "b0"
    layout: str | None = None
    input_px: int | None = None
    channel_order: Sequence[str] = ()
    cyclic_stem: bool = False
    intensity: str | None = None
    seed: int = 0
    store: str = "single-cells"
    batch_size: int | None = None
    workers: int = 1
    npz: bool = False
    config: str | None = None

    @property
    def batch(self) -> int:
        """Cells at a time."""
        return BATCH_SIZE if self.batch_size is None else self.batch_size


class Extractor(NamedTuple):
    """How cells become features.

    Attributes:
      names: Of the features.
      made_by: All that decides them, JSON-able.
      run: Takes cells as stored, the mask channel included; any number up to the batch size.
      workers: Processes that may call it.
    """

    names: list[str]
    made_by: dict[str, Any]
    run: Extract
    workers: int = 1


def default_experiment(model: str | None) -> str:
    """Name of the experiment where the user gave none."""
    return model if model in (CLASSICAL, RANDOM, IMAGENET, *model_names(CELLS)) else "wsl"


def run(options: EmbedOptions, console: Console) -> int:
    """Embeds all cells of a store, plate by plate; goes on where an interrupted run stopped.

    Features of a plate that were made of other cells or by something else are made again.

    Args:
      options: See `EmbedOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted.

    Raises:
      UserError: The store or the weights cannot be read.
      UsageError: Options do not fit each other, or what is there.
    """
    if options.batch < 1 or options.workers < 1:
        raise UsageError("--batch-size and --workers: at least 1 expected")
    folder = output_folder(options.project, options.experiment) / FEATURES
    store = open_store(output_folder(options.project, options.store, "--store"))
    options, notes = _followed(options, folder.parent)
    for note in notes:
        say(console, f"note: {note}")
    extractor = make_extractor(options, store)
    made_by = {"store": store.settings, **extractor.made_by}
    for written in (folder, folder.parent / NPZ):
        remove_temporary(written)
    try:
        with terminate_as_interrupt(), showing("embedding", console) as progress:
            done = 0
            for plate in store.plates:
                cells = {"cells": store.version(plate)}
                writer = FeatureWriter(folder, plate, extractor.names, made_by | cells, remake=True)
                if writer.remade:
                    say(console, f"note: plate {plate} is embedded again ({writer.remade})")
                done += writer.done
                progress(done, len(store))
                for table_rows, features in _embed_plate(store, plate, writer, extractor, options):
                    writer.add(table_rows, features)
                    done += len(features)
                    progress(done, len(store))
                if not writer.complete:
                    writer.finish()
            if options.npz or (folder.parent / NPZ).is_dir():  # never beside older ones
                _write_npz(folder, list(store.plates))
    except KeyboardInterrupt:
        say(console, "interrupted; the same command goes on where this stopped")
        return EXIT_INTERRUPTED
    say(
        console,
        f"{count(len(store), 'cell')} of {count(len(store.plates), 'plate')}, "
        f"{len(extractor.names)} features each: {folder}",
    )
    return 0


def _followed(options: EmbedOptions, experiment: Path) -> tuple[EmbedOptions, tuple[str, ...]]:
    """The options, with what the project's configuration says where they say nothing, and notes."""
    if not (options.project / "inputs").is_dir():
        return options, ()
    project = open_project(options.project, config=options.config)
    found = follow_profile(project, experiment, options.model)
    return dataclasses.replace(
        options,
        model=options.model if found.model is None else found.model,
        input_px=found.input_px if options.input_px is None else options.input_px,
        batch_size=found.batch_size if options.batch_size is None else options.batch_size,
    ), found.notes


def make_extractor(options: EmbedOptions, store: CellStore) -> Extractor:
    """Chooses what turns cells into features.

    Args:
      options: See `EmbedOptions`.
      store: Whose cells they will be.

    Returns:
      The extractor.

    Raises:
      UserError: Weights cannot be read.
      UsageError: Options do not fit each other, or the model not the store.
    """
    channels = image_channels(store.channels)
    if options.model == CLASSICAL:
        names = list(measurement_names(channels))
        made_by = {"model": CLASSICAL, "masks": MASK in store.channels}
        return Extractor(
            names, made_by, functools.partial(_measure, store.channels), options.workers
        )
    return _network(options, store, channels)


def _measure(
    channels: tuple[str, ...], cells: Shaped[np.ndarray, "n s s c"]
) -> Float[np.ndarray, "n d"]:
    masks = cells[..., -1] > 0 if MASK in channels else None
    pixels = own_pixels(cells, channels, masked=False)
    return measure_cells(pixels, masks, image_channels(channels))[1]


def _network(options: EmbedOptions, store: CellStore, channels: tuple[str, ...]) -> Extractor:
    import jax

    from cellml.tasks import embedding
    from cellml.train.parallel import map_rows

    embedder, facts = _embedder(options, channels)
    spec = embedder.spec
    if spec.channels and sorted(spec.channels) != sorted(channels):
        raise UsageError(
            f"{facts['model']}: trained on channels {', '.join(spec.channels)}; the store has "
            f"{', '.join(channels)}"
        )
    order = [channels.index(channel) for channel in spec.channels] or list(range(len(channels)))
    embedder = embedding.for_inference(embedder)
    devices = jax.local_devices()
    compiled = map_rows(functools.partial(embedding.embed, spec), embedder.variables, devices)
    rows = -(-options.batch // len(devices)) * len(devices)

    def extract(cells: Shaped[np.ndarray, "n s s c"]) -> Float[np.ndarray, "n d"]:
        found = len(cells)
        cells = own_pixels(cells, store.channels, masked=spec.masked)[..., order]
        padded = np.pad(cells, ((0, rows - found), (0, 0), (0, 0), (0, 0)))
        return np.asarray(compiled(padded))[:found]

    return Extractor(spec.feature_names(channels), facts | {"spec": spec.to_json()}, extract)


def _embedder(options: EmbedOptions, channels: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    from cellml.tasks import embedders
    from cellml.tasks.published_embedders import is_published

    side = embedders.IMAGENET_PX if options.input_px is None else options.input_px
    sized = {"input_px": side, "variant": options.variant}
    published = options.model is not None and is_published(options.model)
    if not published and (options.channel_order or options.cyclic_stem or options.intensity):
        raise UsageError(
            "--channel-order, --cyclic-stem and --intensity: for --model FILE of another program"
        )
    if options.weights is not None and options.model != IMAGENET:
        raise UsageError(
            "--weights: for --model imagenet, one channel at a time; --model FILE for all at once"
        )
    try:
        if published:
            return _published(options, channels)
        if options.model == RANDOM:
            return embedders.random_embedder(seed=options.seed, **sized), {
                "model": RANDOM,
                "seed": options.seed,
            }
        if options.model == IMAGENET:
            weights = options.weights or _fetch_imagenet(options)
            embedder = embedders.imagenet_embedder(weights, layout=options.layout, **sized)
            return embedder, {"model": IMAGENET, "sha256": file_sha256(weights)}
        path = options.model
        if path is None:
            path = last_embedder(output_folder(options.project, options.experiment) / "model")
        file = resolve_model(path, kind=CELLS)
        embedder = embedders.load_embedder(file)
        if options.input_px is not None:
            spec = dataclasses.replace(embedder.spec, input_px=options.input_px)
            embedder = embedder._replace(spec=spec)
        return embedder, {"model": Path(path).name, "sha256": file_sha256(file)}
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--model: {error}") from error


def _published(options: EmbedOptions, channels: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    from cellml.tasks.published_embedders import DEFAULT_INTENSITY, stacked_embedder

    path = Path(options.model or "")
    embedder = stacked_embedder(
        path,
        channels,
        file_channels=options.channel_order,
        cyclic=options.cyclic_stem,
        variant=options.variant,
        layout=options.layout,
        intensity=options.intensity or DEFAULT_INTENSITY,
        input_px=options.input_px or 0,
    )
    facts = {"channel_order": list(options.channel_order), "cyclic_stem": options.cyclic_stem}
    return embedder, {"model": path.name, "sha256": file_sha256(path), **facts}


def _fetch_imagenet(options: EmbedOptions) -> Path:
    if options.variant != "b0":
        raise UsageError(f"--model imagenet --variant {options.variant}: --weights FILE expected")
    try:
        return fetch("efficientnet_b0_imagenet", options.project / "outputs" / "weights")
    except OSError as error:
        raise UserError(str(error)) from error


def _embed_plate(
    store: CellStore,
    plate: str,
    writer: FeatureWriter,
    extractor: Extractor,
    options: EmbedOptions,
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields rows of the index and their features, in order."""
    if writer.complete:
        return
    index = store.read_plate(plate)
    first = int(index["row"][0].as_py()) if len(index) else 0
    starts = range(writer.done, len(index), options.batch)
    chunks = [np.arange(a, min(a + options.batch, len(index))) + first for a in starts]
    for start, features in zip(starts, _map(store, chunks, extractor), strict=True):
        yield index.slice(start, len(features)), features


def _map(store: CellStore, chunks: list[np.ndarray], extractor: Extractor) -> Iterator[np.ndarray]:
    work = functools.partial(_read_and_run, store, extractor.run)
    if extractor.workers == 1 or len(chunks) < 2:
        yield from map(work, chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    with ProcessPoolExecutor(extractor.workers, mp_context=context) as pool:
        yield from pool.map(work, chunks)


def _read_and_run(
    store: CellStore, extract: Extract, rows: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    return extract(store.read(rows))


def _write_npz(folder: Path, plates: Sequence[str]) -> None:
    for plate in plates:
        export_npz(folder, folder.parent / NPZ, plate, lambda: None)

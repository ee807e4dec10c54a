"""Folders of a project in which commands of `cellml profile` write."""

from pathlib import Path

from cellml.errors import UsageError

OUTPUTS = Path("outputs")


def output_folder(project: Path, name: str, option: str = "--experiment") -> Path:
    """Returns `outputs/<name>` of a project.

    Args:
      project: Its folder.
      name: Of an experiment or a store, as the user gave it.
      option: Where.

    Returns:
      The folder, whether or not it is there.

    Raises:
      UsageError: The name leads out of `outputs`, or deeper.
    """
    if not name or name == ".." or "\\" in name or Path(name).name != name:
        raise UsageError(f"{option} {name!r}: the name of a folder in outputs/ expected")
    return project / OUTPUTS / name

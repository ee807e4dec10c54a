"""Nucleus centres as DeepProfiler reads them: `locations/<Plate>/<Well>-<Site>-Nuclei.csv`.

Plate, well and site are taken from the file name where it follows one of these rules:
  <plate>_<well>_s<site>[_...]        ImageXpress, e.g. IXMtest_A01_s1_w1E89C.tif
  r<row>c<column>f<field>p<plane>...  Opera Phenix, e.g. r02c03f01p01-ch1sk1fk1fl1.tiff;
                                      the plate is the folder, without a trailing `/Images`
Wells are written as a letter and two digits (a1 -> A01). Every other image gives
`locations/<stem>-Nuclei.csv`.
"""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from cellml.data.writers import atomic

IMAGE_XPRESS = re.compile(r"(?P<plate>.+?)_(?P<well>[A-Pa-p]\d{1,2})_s(?P<site>\d+)(?:_.*)?")
OPERA_PHENIX = re.compile(r"r(?P<row>\d{2})c(?P<column>\d{2})f(?P<site>\d{2,})p\d{2,}(?:-.*)?")


def locations_path(image: Path, stem: str) -> Path:
    """Returns where an image's locations go, relative to the output folder.

    Args:
      image: The image file; its folder names the plate of Opera Phenix images.
      stem: Name of the image or page. A page of a stack (`..._p003`) keeps its own name.
    """
    if image.name.startswith(f"{stem}."):  # not a page
        if match := IMAGE_XPRESS.fullmatch(stem):
            well = f"{match['well'][0].upper()}{int(match['well'][1:]):02d}"
            return Path("locations", match["plate"], f"{well}-{match['site']}-Nuclei.csv")
        if match := OPERA_PHENIX.fullmatch(stem):
            row, column = int(match["row"]), int(match["column"])
            folder = image.resolve().parent
            plate = folder.parent.name if folder.name.lower() == "images" else folder.name
            if 1 <= row <= 16 and plate:
                well = f"{chr(ord('A') + row - 1)}{column:02d}"
                return Path("locations", plate, f"{well}-{int(match['site'])}-Nuclei.csv")
    return Path("locations", f"{stem}-Nuclei.csv")


def write_locations(path: Path, nuclei: pa.Table) -> None:
    """Writes the centres, in pixels from the top-left pixel's centre, x first.

    Args:
      path: File to write.
      nuclei: A table of one image, see `cellml.data.tables.nuclei_table`.
    """
    centres = np.stack([nuclei["centroid_x_px"], nuclei["centroid_y_px"]], axis=1)
    with atomic(path) as temporary:
        header = "Nuclei_Location_Center_X,Nuclei_Location_Center_Y"
        np.savetxt(temporary, centres, "%.3f", ",", header=header, comments="", encoding="utf-8")

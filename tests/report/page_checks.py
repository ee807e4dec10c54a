"""What every report page must hold; used by several tests."""

import re
import xml.etree.ElementTree as ET

RESOURCE_ATTRIBUTES = ("src", "href", "srcset", "data", "poster", "action")


def parse(page: str) -> ET.Element:
    """The page as a tree; fails where a tag is not closed or an entity is unknown."""
    assert page.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def outside_resources(page: str) -> list[str]:
    """Everything that a browser would fetch."""
    found = [
        f"{element.tag} {name}={value[:60]}"
        for element in parse(page).iter()
        for name, value in element.attrib.items()
        if name in RESOURCE_ATTRIBUTES and not value.startswith(("#", "data:"))
    ]
    found += re.findall(r"url\((?!#)[^)]*\)|@import[^;]*|<script", page)
    return found


def text_of(page: str) -> str:
    return " ".join(" ".join(parse(page).itertext()).split())


def repeated_ids(page: str) -> list[str]:
    ids = [element.get("id") for element in parse(page).iter() if element.get("id")]
    return sorted({name for name in ids if name is not None and ids.count(name) > 1})

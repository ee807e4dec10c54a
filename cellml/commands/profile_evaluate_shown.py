"""What `cellml profile evaluate` prints."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

PROTOCOLS = ("strict", "moshkov2024")


def scores_table(result: Mapping[str, Any]) -> Table:
    """The scores for the terminal, one column a protocol."""
    protocols = {"strict": result} | {k: result[k] for k in PROTOCOLS[1:] if k in result}
    table = Table(title=f"level {result['level']}, sphering {result['sphere']}", box=None)
    table.add_column("score")
    for name in protocols:
        table.add_column(name, justify="right")
    rows = ("map", "map_interpolated", "folds_of_enrichment", "folds_of_enrichment_median")
    for name in rows:
        table.add_row(name, *(shown(found[name]) for found in protocols.values()))
    for k in result["precision_at_k"]:
        values = (found["precision_at_k"].get(k) for found in protocols.values())
        table.add_row(f"precision at {k}", *map(shown, values))
    hits = (f"{found['hits_top1pct']} of {found['n_treatments']}" for found in protocols.values())
    table.add_row("hits in top 1 %", *hits)
    table.add_row("queries (map)", *(str(f["n_queries"]["map"]) for f in protocols.values()))
    return table


def sweep_table(result: Mapping[str, Any]) -> Table:
    """The scores at every lambda."""
    title = "every lambda; its best was chosen by the labels"
    table = Table(title=title, box=None)
    table.add_column("lambda", justify="right")
    protocols = [name for name in PROTOCOLS if name in result["sweep"][0]]
    for name in protocols:
        table.add_column(f"map {name}", justify="right")
    for name in ("folds", "median", "hits"):
        table.add_column(name, justify="right")
    for row in result["sweep"]:
        value = row["lambda"]
        name = "none" if value is None else f"{value:g}"
        strict = row["strict"]
        table.add_row(
            name + (" (asked)" if value == result["lambda"] else ""),
            *(shown(row[protocol]["map"]) for protocol in protocols),
            shown(strict["folds_of_enrichment"]),
            shown(strict["folds_of_enrichment_median"]),
            str(strict["hits_top1pct"]),
        )
    return table


def summary_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """One line each on neighbours, replicates, chance, and what was scored."""
    for key, words in (("nsc_1nn", "another compound"), ("nscb_1nn", "another compound and batch")):
        if found := result[key]:
            yield (
                f"nearest neighbour of {words}: {found['n_right']:.6g} of {found['n_queries']} "
                f"share a label ({found['n_answerable']} can)"
            )
    if found := result["replicate_reproducibility"]:
        yield (
            f"replicates: {found['n_reproducible']} of {found['n_treatments']} treatments are "
            "reproducible"
        )
    if "q_values" in result:
        tested = [q for q in result["q_values"].values() if q is not None]
        yield (
            f"chance: {sum(q <= 0.05 for q in tested)} of {len(tested)} treatments have q <= 0.05"
        )
    for protocol in PROTOCOLS[1:]:
        if protocol not in result:
            yield f"{protocol}: {result['how'][protocol]}"
    yield (
        f"{result['n_features']} features ({result['how']['features']}), {result['n_profiles']} "
        f"profiles, {result['n_controls']} controls; {result['how']['profiles']}"
    )


def shown(value: float | None) -> str:
    """A number in a table; a dash where it is undefined."""
    return "-" if value is None else f"{value:.4f}"

"""What a study shows: tables, pictures and plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backbones.analysis.layers import EMBEDDINGS
from backbones.analysis.logistic import Logistic
from backbones.analysis.phenomena import by_phenomenon
from backbones.analysis.ranking import MIX, Layer, Probed, ranked, standard_error
from backbones.analysis.study import Finding, Study
from backbones.analysis.volumes import Curve
from backbones.page import Part, Picture, Prose, Table
from backbones.plots import bars, lines

SHOWN = 12  # rows of the ranking on a terminal


def ranking_table(study: Study, most: int | None = None) -> Table:
    """Return the layers of all backbones, best first.

    Args:
        study: with probed layers.
        most: so many rows, in columns that fit a terminal; None for all, with names that need no explanation.
    """
    held = len(study.wanted.held) if study.wanted.held is not None else 0
    probed = {found.probed.model: found.probed for found in study.findings if found.probed is not None}
    rows = ranked([layer for model in probed.values() for layer in model.layers])
    caption = "Which backbone, which layer: best first"
    if most is not None and len(rows) > most:
        caption += f" (the first {most} of {len(rows)})"
    body = [_row(number, layer, probed[layer.model], held) for number, layer in enumerate(rows[:most], start=1)]
    return Table(HEADER if most is None else SHORT, body, caption)


HEADER = (
    "rank", "backbone", "layer", "linear probe, %", "NCM, %", "code, kbit", "compression", "seconds", "parameters, M",
)  # fmt: skip
SHORT = ("#", "backbone", "layer", "linear, %", "NCM", "kbit", "compr.", "s", "M par.")


def _row(number: int, layer: Layer, model: Probed, held: int) -> list[str]:
    seconds = layer.seconds + model.seconds
    return [
        str(number),
        layer.model,
        _place(layer, model),
        f"{100 * layer.linear:.1f} ± {100 * standard_error(layer.linear, held):.1f}",
        "" if layer.means is None else f"{100 * layer.means:.1f}",
        "" if layer.code is None else f"{layer.code.kbit:.2f}",
        "" if layer.code is None else f"{layer.code.compression:.2f}",
        f"{seconds:.0f}",
        f"{model.parameters / 1e6:.2f}",
    ]


def _place(layer: Layer, model: Probed) -> str:
    if layer.layer == MIX:
        return "mix"
    return f"{layer.layer} (last)" if layer.layer == str(model.depth - 1) else layer.layer


def parts_of(study: Study) -> list[Part]:
    """Return everything that the page shows, in order."""
    found: list[Part] = []
    if study.advice is not None:
        found += [Prose(f"{reason[0].upper()}{reason[1:]}.") for reason in study.advice.reasons]
        found += _layer_parts(study)
    found += _span_parts(study.findings)
    found += _pair_parts(study.findings)
    found += _cloze_parts(study.findings)
    found += _example_curves(study.findings)
    found += _volume_parts(study)
    found += [Prose(f"{finding.name}: {note}.") for finding in study.findings for note in finding.notes]
    return found


def _layer_parts(study: Study) -> list[Part]:
    models = [finding.probed for finding in study.findings if finding.probed is not None]
    linear = {model.model: _by_layer(model.layers, lambda layer: 100 * layer.linear) for model in models}
    means = {
        f"{model.model}, NCM": _by_layer(model.layers, lambda layer: 100 * (layer.means or 0.0)) for model in models
    }
    axis = "layer (-1: the embeddings)"
    said = "Accuracy on held-out training data, by layer: linear probe and nearest class means."
    found: list[Part] = [
        ranking_table(study),
        Prose(
            "Seconds are those of the passes through the backbone, which give all layers at once, and of the layer's "
            "own probes. The mix is a learned mean over the blocks, with a linear probe on it. Rows are ranked by the "
            "compression of the labels, which uses all rows; accuracies are of the held-out rows, with standard errors."
        ),
        Picture("layers.png", lines({**linear, **means}, axis, "accuracy, %"), said),
    ]
    if all(layer.code is not None for model in models for layer in model.layers):
        found += _code_parts(models)
    shares: list[list[str]] = [[model.model, *_shares(model.mix)] for model in models if model.mix is not None]
    if shares:
        header = ("backbone", "share of each block in the learned mean, %")
        found.append(Table(header, [[name, ", ".join(rest)] for name, *rest in shares], "What the mix is made of"))
    return found


def _shares(mix: Layer) -> list[str]:
    return [f"{number}: {100 * share:.0f}" for number, share in enumerate(mix.shares)]


def _by_layer(layers: Sequence[Layer], value: Any) -> tuple[list[float], list[float]]:
    single = [layer for layer in layers if layer.layer != MIX]
    places = [-1.0 if layer.layer == EMBEDDINGS else float(layer.layer) for layer in single]
    return places, [value(layer) for layer in single]


def _code_parts(models: Sequence[Probed]) -> list[Part]:
    heights: dict[str, float | dict[str, float]] = {}
    portions = {}
    for model in models:
        best, last = model.best, model.last
        assert best.code is not None and last.code is not None
        heights[model.model] = {
            "last layer": last.code.kbit, "best layer": best.code.kbit, "uniform": last.code.uniform_bits / 1000
        }  # fmt: skip
        sent = [portion for portion in last.code.portions if portion.known and portion.rows]
        portions[model.model] = [float(p.known) for p in sent], [p.bits / p.rows for p in sent]
    found: list[Part] = [
        Picture("mdl.png", bars(heights, "code length, kbit"), "Online code of the labels: shorter is better."),
    ]
    if all(rows[0] for rows in portions.values()):
        picture = lines(portions, "labels known", "bits a label", log_x=True)
        found.append(Picture("portions.png", picture, "Bits for each label of the next portion, last layer."))
    notes = dict.fromkeys(note for model in models if model.last.code is not None for note in model.last.code.notes)
    return [*found, *(Prose(f"Online code: {note}.") for note in notes)]


def _span_parts(findings: Sequence[Finding]) -> list[Part]:
    rows = [
        [
            layer.model,
            layer.layer,
            f"{100 * layer.linear:.1f}",
            "" if layer.code is None else f"{layer.code.kbit:.2f}",
            "" if layer.code is None else f"{layer.code.compression:.2f}",
        ]
        for layer in ranked([layer for finding in findings for layer in finding.edges])
    ]
    if not rows:
        return []
    series = {
        finding.name: _by_layer(finding.edges, lambda layer: 100 * layer.linear)
        for finding in findings
        if finding.edges
    }
    picture = lines(series, "layer (-1: the embeddings)", "accuracy of spans, %")
    header = ("backbone", "layer", "linear probe, %", "code, kbit", "compression")
    return [Table(header, rows, "Classes of spans"), Picture("spans.png", picture, "Classes of spans, by layer.")]


def pairs_table(findings: Sequence[Finding]) -> Table | None:
    """Return the accuracies of minimal pairs by phenomenon; None without any."""
    asked = [finding for finding in findings if finding.pairs is not None]
    if not asked:
        return None
    columns = [by_phenomenon(finding.pairs.accuracy) for finding in asked if finding.pairs is not None]
    rows = [
        [name, str(count), *(f"{100 * column[name][0]:.1f}" for column in columns)]
        for name, (_, count) in columns[0].items()
    ]
    overall = [f"{100 * finding.pairs.overall:.1f}" for finding in asked if finding.pairs is not None]
    paradigms = str(sum(count for _, count in columns[0].values()))
    header = ("phenomenon", "paradigms", *(finding.name for finding in asked))
    ties = [finding.pairs.ties for finding in asked if finding.pairs is not None]
    tied = [["tied, each one half", "", *(f"{100 * each:.1f}" for each in ties)]] if any(ties) else []
    return Table(header, [*rows, ["mean over paradigms", paradigms, *overall], *tied], "Minimal pairs, accuracy in %")


def _pair_parts(findings: Sequence[Finding]) -> list[Part]:
    table = pairs_table(findings)
    if table is None:
        return []
    heights = {
        name: {model: float(cell) for model, cell in zip(table.header[2:], cells, strict=True)}
        for name, _, *cells in table.rows
    }
    return [table, Picture("pairs.png", bars(heights, "accuracy, %"), "Minimal pairs; chance is 50 %.")]


def cloze_table(findings: Sequence[Finding]) -> Table | None:
    """Return what models knew of cloze questions; None without any."""
    rows = []
    for finding in findings:
        if finding.cloze is not None:
            said = finding.cloze.summary()
            left = "; ".join(f"{count} {reason}" for reason, count in said["left out"].items())
            figures = [f"{100 * said[key]:.1f}" for key in ("P@1", "P@10", "P@1, mean over relations")]
            rows.append([finding.name, str(said["questions"]), *figures, f"{said['MRR']:.3f}", left or "none"])
    header = ("backbone", "asked", "P@1, %", "P@10, %", "P@1 over relations, %", "MRR", "answers left out")
    return Table(header, rows, "Cloze questions") if rows else None


def _cloze_parts(findings: Sequence[Finding]) -> list[Part]:
    table = cloze_table(findings)
    return [] if table is None else [table]


def _example_curves(findings: Sequence[Finding]) -> list[Part]:
    series = {}
    for finding in findings:
        for points, how in ((finding.frozen, "frozen"), (finding.tuned, "fine-tuned")):
            if points:
                name = f"{finding.name}, {how}"
                series[name] = [float(p.samples) for p in points], [100 * p.accuracy for p in points]
    if not series:
        return []
    rows = [[name, *(f"{x:.0f}: {y:.1f}" for x, y in zip(*values, strict=True))] for name, values in series.items()]
    table = Table(
        ("backbone", "training examples: accuracy, %"),
        [[name, ", ".join(rest)] for name, *rest in rows],
        "Accuracy against the number of training examples",
    )
    picture = lines(series, "training examples", "accuracy, %", log_x=True)
    return [table, Picture("examples.png", picture, "A head on frozen features; all weights where fine-tuned.")]


def curves_table(curves: Sequence[Curve]) -> Table | None:
    """Return the fits of learning curves; None without curves."""
    rows = []
    for curve in curves:
        ends = f"{curve.y[0]:.4g} to {curve.y[-1]:.4g}"
        rows.append([curve.name, ends, "yes" if curve.monotone else "no", *_fitted(curve.fit), _remark(curve)])
    header = ("figure", "first to last", "monotone", "from", "to", "middle", "slope", "R2", "remarks")
    return (
        Table(header, rows, "Learning curves: y = from + (to - from) / (1 + exp(-slope (ln x - ln middle)))")
        if rows
        else None
    )


def _fitted(fit: Logistic | None) -> list[str]:
    if fit is None:
        return ["", "", "", "", ""]
    return [f"{fit.left:.4g}", f"{fit.right:.4g}", f"{fit.middle:.3g}", f"{fit.slope:.3g}", f"{fit.r2:.3f}"]


def _remark(curve: Curve) -> str:
    return curve.reason if curve.fit is None else "; ".join(curve.fit.notes) or "none"


def _volume_parts(study: Study) -> list[Part]:
    table = curves_table(study.curves)
    if table is None:
        return []
    groups: dict[str, list[Curve]] = {}
    for curve in study.curves:
        groups.setdefault(curve.name.rpartition(", ")[2], []).append(curve)
    found: list[Part] = [table]
    for number, (unit, curves) in enumerate(groups.items(), start=1):
        series, fits = {}, {}
        for curve in curves:
            shown = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x > 0]
            if shown:
                series[curve.name] = [x for x, _ in shown], [y for _, y in shown]
                if curve.fit is not None:
                    fits[curve.name] = curve.fit.line(shown[0][0], shown[-1][0])
        if series:
            picture = lines(series, f"{study.wanted.unit} seen", unit, log_x=True, fits=fits)
            said = "fits are dashed" if fits else "no fits"
            found.append(Picture(f"curve-{number}.png", picture, f"Figures against {study.wanted.unit} seen; {said}."))
    return found


def facts_of(study: Study) -> dict[str, Any]:
    """Return every figure as JSON values."""
    return {
        "backbones": [_facts(finding) for finding in study.findings],
        "curves": {curve.name: curve.summary() for curve in study.curves},
        "advice": None
        if study.advice is None
        else {
            "backbone": study.advice.backbone,
            "options": list(study.advice.options),
            "reasons": list(study.advice.reasons),
        },
    }


def _facts(finding: Finding) -> dict[str, Any]:
    probed = finding.probed
    found: dict[str, Any] = {"name": finding.name, "seen": finding.volume}
    if probed is not None:
        found |= {"parameters": probed.parameters, "depth": probed.depth, "width": probed.width}
        found |= {"seconds of the passes": probed.seconds, "samples": probed.samples}
        found["layers"] = [layer.summary() for layer in probed.layers]
    if finding.edges:
        found["spans"] = [layer.summary() for layer in finding.edges]
    if finding.pairs is not None:
        found["minimal pairs"] = {
            "accuracy": finding.pairs.accuracy, "mean": finding.pairs.overall, "tied": finding.pairs.ties
        }  # fmt: skip
    if finding.cloze is not None:
        found["cloze"] = finding.cloze.summary()
    for name, points in (("head on frozen features", finding.frozen), ("fine-tuned", finding.tuned)):
        if points:
            found[name] = [{"samples": point.samples, "accuracy": point.accuracy} for point in points]
    return found | {"notes": finding.notes}

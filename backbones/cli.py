"""``backbone``: work on backbones and trained deltas from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backbones.cli_shell import Version, make_app, run
from backbones.commands import infuse, offsite, pretrain
from backbones.commands.compress import compress
from backbones.commands.distill import distill
from backbones.commands.export import export
from backbones.commands.probe import probe
from backbones.commands.shared import DeviceOption, check_paths, tell_notes
from backbones.core.outputs import guard_file, guard_folder

app = make_app()
app.add_typer(pretrain.app, name="pretrain")
app.add_typer(infuse.app, name="infuse")
app.add_typer(offsite.app, name="offsite")

app.command()(compress)
app.command()(distill)
app.command()(export)
app.command()(probe)


@app.callback()
def backbone(version: Version = False) -> None:
    """Fold trained deltas into plain weights; add sparse differences up."""


@app.command()
def merge(
    base: Annotated[str, typer.Argument(help="backbone that the delta was trained on, see cil-run --list backbones")],
    delta: Annotated[Path, typer.Argument(help="folder of a delta: ours, one of PEFT, or a run folder")],
    out: Annotated[Path, typer.Option(help="new folder for the plain weights")],
    weights: Annotated[Path | None, typer.Option(help="local weights of the backbone (.safetensors)")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the input in pixels")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Write the weights of BASE with the delta folded in, as timm or transformers loads them without us."""
    guard_folder(out)
    check_paths([delta], "delta")
    from backbones.commands.shared import screen
    from backbones.core.options import LoadOptions
    from backbones.merging import merge as merge_

    options = LoadOptions(weights=weights, image_size=image_size, device=device)
    with screen() as shown:
        merged = merge_(base, delta, out, options, shown.progress)
        tell_notes(merged.notes)
        shown.say(f"merged {merged.pat} into {base}: {merged.changed} of {merged.tensors} tensors changed")
        shown.say(f"features differ by {merged.difference:.1e} at most from those with the delta beside the backbone")
        shown.say(f"written to {merged.folder}; load it with: {merged.usage}")


SOURCE = "difference (.safetensors), folder of a delta or of a run, or pytorch_diff.bin of the published library"


@app.command()
def compose(
    base: Annotated[str, typer.Argument(help="backbone that all differences were made from")],
    differences: Annotated[list[Path], typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Option(help="new folder for the plain weights")],
    weights: Annotated[Path | None, typer.Option(help="local weights of the backbone (.safetensors)")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the input in pixels")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Add differences to the weights of BASE and write the sum, as timm or transformers loads it without us.

    Their order does not matter to any bit of the result.
    """
    guard_folder(out)
    check_paths(differences)
    from backbones.cli_view import show_composed
    from backbones.commands.shared import screen
    from backbones.compose.writing import compose as compose_
    from backbones.core.options import LoadOptions

    options = LoadOptions(weights=weights, image_size=image_size, device=device)
    with screen() as shown:
        found = compose_(base, differences, out, options, shown.progress)
    tell_notes(found.notes)
    show_composed(found)


@app.command()
def difference(
    base: Annotated[str, typer.Argument(help="backbone that the tuned weights were made from")],
    source: Annotated[Path, typer.Argument(help=f"{SOURCE}, or a folder of tuned weights with config.json")],
    out: Annotated[Path, typer.Option(help="file to write (.safetensors)")],
    k: Annotated[int | None, typer.Option(help="keep the k weights that moved most (default: all)", min=1)] = None,
    weights: Annotated[Path | None, typer.Option(help="local weights of the backbone (.safetensors)")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Write what SOURCE changes in BASE as one file of a difference, see compose."""
    guard_file(out, [source], read=(".safetensors", ".json", ".bin"))
    check_paths([source])
    from backbones.commands.shared import screen
    from backbones.compose.writing import export_difference
    from backbones.core.options import LoadOptions

    with screen() as shown:
        found = export_difference(base, source, out, k, LoadOptions(weights=weights, device=device), shown.progress)
        tell_notes(found.notes)
        words = f"{found.k:,} weights of {base} change; fingerprint of the base {found.base[:16]}"
        shown.say(f"written to {out}: {words}")


def main() -> None:
    """Run the command line; errors of the user end with one sentence and exit code 2."""
    run(app)


if __name__ == "__main__":
    main()

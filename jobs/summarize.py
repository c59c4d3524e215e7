"""A network's layers, memory and arithmetic: `python jobs/summarize.py vgg_d [key=value …]`, or `--compare` for all."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipelines.command_line import run
from pipelines.config import SummarizeSettings
from pipelines.summary.figures import draw_layers, draw_revolution
from pipelines.summary.inputs import usual_input
from pipelines.summary.revolution import compare, comparison_table, published_table
from pipelines.summary.summary import Summary, summarize_named
from pipelines.summary.table import Table, layers_table, render


def main(settings: SummarizeSettings) -> None:
    if settings.compare:
        compared = compare()
        deliver(settings, [comparison_table(compared), published_table()], lambda: draw_revolution(compared))
    else:
        summary = summarized(settings)
        deliver(settings, [layers_table(summary)], lambda: draw_layers(summary))


def summarized(settings: SummarizeSettings) -> Summary:
    """Of the one network that the settings are about."""
    given = usual_input(settings.network).changed(settings.input_size, settings.in_channels, settings.num_classes)
    return summarize_named(settings.network, settings.batch_size, given, settings.options)


def deliver(settings: SummarizeSettings, tables: Sequence[Table], draw: Callable[[], Figure]) -> None:
    """Printed, or written where the settings say."""
    if settings.form == "picture":
        path = settings.output or Path("work/summaries") / f"{settings.network or 'revolution_of_depth'}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw().savefig(path, dpi=130)
    elif settings.output is None:
        print(render(tables, settings.form))
        return
    else:
        path = settings.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(tables, settings.form) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    run(SummarizeSettings, main, "python jobs/summarize.py", subject="network")

"""One page about a study: `python jobs/report.py STUDY [key=value …]`."""

import re
from datetime import datetime, timezone
from pathlib import Path

from pipelines.command_line import run
from pipelines.config import InputError, ReportSettings, without_secrets
from pipelines.dataset.manifest import Manifest, read_manifest
from pipelines.report.facts import Facts, dataset_of
from pipelines.report.html import as_html
from pipelines.report.markdown import as_markdown, files
from pipelines.report.page import page_of
from pipelines.summary.revolution import compare
from pipelines.tracking.logged import LoggedRun, LoggedStudy
from pipelines.tracking.studies import read_study
from pipelines.tracking.tracker import MlflowTracker

PICTURES = "pictures"


def main(settings: ReportSettings) -> None:
    study = read_study(settings.store, lambda line: print(line, flush=True))
    facts = Facts(study, manifest_of(study))
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if settings.log and facts.ensemble is None:
        raise InputError(f"log = true: study {study.name} has no ensemble to put the page with; leave it out")
    page = page_of(facts, compare(), made)
    contents = {f"{PICTURES}/{name}": content for name, content in files(page).items()}
    contents |= {"report.md": as_markdown(page, PICTURES).encode(), "index.html": as_html(page).encode()}
    folder = settings.output / folder_name(study.name)
    write(folder, contents)
    logged = log(settings, facts.ensemble[0], folder / "index.html") if settings.log and facts.ensemble else ""
    print(
        f"\nstudy    {study.name}: {len(study.trainings)} trainings, {len(study.ensembles)} ensembles, "
        f"in {without_secrets(settings.tracking.uri)}\n"
        f"page     {folder / 'index.html'}, {len(contents['index.html']) / 1000:,.0f} kB with all that it shows\n"
        f"markdown {folder / 'report.md'}, with {len(contents) - 2} pictures in {PICTURES}/\n"
        f"{logged}"
        f"next: open {folder / 'index.html'} in a browser"
    )


def manifest_of(study: LoggedStudy) -> Manifest | None:
    """Of the dataset of the newest training, if it is still where it was."""
    address, digest = dataset_of(study)
    try:
        manifest = read_manifest(address)
    except (InputError, OSError) as error:
        print(f"the dataset is not read, so the page does not count its images: {error}", flush=True)
        return None
    return manifest if manifest.digest == digest else None


def folder_name(study: str) -> str:
    """The study's name as that of a folder, whatever is in it."""
    return re.sub(r"[^0-9A-Za-z._-]", "-", study).lstrip(".") or "study"


def write(folder: Path, contents: dict[str, bytes]) -> None:
    """Each file whole or not at all, the page last."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(path)


def log(settings: ReportSettings, ensemble: LoggedRun, page: Path) -> str:
    """Put the page among the ensemble's artifacts; a line for the screen."""
    MlflowTracker.reopen(settings.store, ensemble.run_id).log_file(page, "report")
    return f"logged   to run {ensemble.name} ({ensemble.run_id}), folder report\n"


if __name__ == "__main__":
    run(ReportSettings, main, "python jobs/report.py", subject="study")

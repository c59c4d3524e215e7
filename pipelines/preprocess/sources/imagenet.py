"""What ImageNet's two layouts, the original tars and Kaggle's folders, share: the classes, training images by class
folder, validation images by a table of labels."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.config import InputError, SourceSettings
from pipelines.dataset.manifest import ImageClass
from pipelines.dataset.storage import Location
from pipelines.preprocess.sources.listing import WHOLE_FILE, Item, class_table, repeated
from pipelines.preprocess.sources.names import has_image_suffix, is_clutter
from pipelines.preprocess.sources.parts import Part, Seen, list_folder
from pipelines.preprocess.sources.walk import Walk


@dataclass(frozen=True)
class Synset:
    """One class as its source describes it."""

    wnid: str
    words: str
    ilsvrc_id: int | None = None


@dataclass(frozen=True)
class Synsets:
    """The classes, sorted by wnid: a class's position is its label."""

    members: tuple[Synset, ...]
    source: str
    """The file that describes them, for errors."""

    @classmethod
    def sorted(cls, members: Iterable[Synset], source: str) -> "Synsets":
        """An InputError if two have one wnid."""
        ordered = tuple(sorted(members, key=lambda synset: synset.wnid))
        if twice := repeated(synset.wnid for synset in ordered):
            raise InputError(f"{source}: {twice} is there twice")
        if not ordered:
            raise InputError(f"{source}: no classes")
        return cls(ordered, source)

    def labels(self) -> dict[str, int]:
        """Label of each wnid."""
        return {synset.wnid: label for label, synset in enumerate(self.members)}

    def classes(self, source: SourceSettings) -> tuple[ImageClass, ...]:
        return class_table(
            source,
            [synset.words for synset in self.members],
            [synset.wnid for synset in self.members],
            [synset.ilsvrc_id for synset in self.members if synset.ilsvrc_id is not None],
            complete=True,
        )

    def refuse_others(self, found: Sequence[str], place: str) -> None:
        """An InputError unless `found`, the wnids of folders or tars in a place, are these classes, each once."""
        if twice := repeated(sorted(found)):
            raise InputError(f"{place}: the class {twice} is there twice; keep one of them")
        known = self.labels()
        if strange := sorted(set(found) - set(known)):
            raise InputError(f"{place}: {strange[0]} is no class of {self.source}{_more(strange)}")
        if missing := sorted(set(known) - set(found)):
            raise InputError(f"{place}: the class {missing[0]} of {self.source} is missing{_more(missing)}")


def _more(names: Collection[str]) -> str:
    return f" ({len(names)} such classes in all)" if len(names) > 1 else ""


def refuse_empty(parts: Sequence[Part], names: Sequence[str], place: str) -> None:
    """An InputError naming the first class of which no image was found."""
    for part, name in zip(parts, names, strict=True):
        if not len(part.items):
            why = f"; {part.rejects[0].key}: {part.rejects[0].detail}" if part.rejects else ""
            raise InputError(f"{place}: the class {name} has no images{why}")


def class_folders(folder: Location) -> list[str]:
    """Names of the folders in a folder of training images."""
    return [name for name in folder.folders() if not is_clutter(name)]


def folder_listers(walk: Walk, train: str, wnids: Iterable[str], synsets: Synsets) -> dict[str, Callable[[], Part]]:
    """What lists the folder of each class in `train`, a folder below the walk's root."""
    labels = synsets.labels()
    return {
        wnid: partial(list_folder, walk, f"{train}/{wnid}", f"train/{wnid}", labels[wnid], "train") for wnid in wnids
    }


@dataclass(frozen=True)
class ValLabels:
    """The label of each validation image."""

    by_stem: Mapping[str, int]
    """By name without suffix: `ILSVRC2012_val_00000001`."""
    source: str
    """The file that they are from, for errors."""

    def item(self, name: str, file: str, offset: int, length: int) -> Item:
        """Of the image of this name; an InputError if it has no label."""
        label = self.by_stem.get(_stem(name))
        if label is None:
            raise InputError(f"{name} among the validation images has no line in {self.source}")
        return Item(f"val/{name}", file, offset, length, label, "val")

    def refuse_missing(self, names: Iterable[str], place: str) -> None:
        """An InputError unless every label has its image among these names in a place."""
        if missing := sorted(set(self.by_stem) - {_stem(name) for name in names}):
            raise InputError(
                f"{place}: {len(missing)} of the {len(self.by_stem)} validation images in {self.source} are missing, "
                f"the first is {missing[0]}"
            )


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def list_val_folder(walk: Walk, folder: str, labels: ValLabels) -> Part:
    """Validation images in or below a folder below the walk's root; keys are `val/` and the name."""
    seen = Seen()
    names: list[str] = []

    def items() -> Iterator[Item]:
        for file in walk.files(folder):
            name = file.path.rpartition("/")[2]
            if file.fault:
                seen.reject(f"val/{name}", str(walk.root / file.path), *file.fault)
            elif not has_image_suffix(name):
                seen.other_files += 1
                continue
            else:
                seen.facts.append(f"{file.path} {file.size_bytes} {file.mtime_ns}")
                yield labels.item(name, file.path, 0, WHOLE_FILE)
            names.append(name)

    part = seen.part(items())
    labels.refuse_missing(names, str(walk.root / folder))
    return part

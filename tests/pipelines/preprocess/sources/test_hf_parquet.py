import contextlib
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import InputError, SourceSettings
from pipelines.preprocess.sources import list_source
from tests.hostile import Hostile, answers_and_growth
from tests.pipelines.preprocess.sources.builders import HF_FILES, HfFile, contents, encoded_image, write_hf_parquet


def listing(folder, **settings):
    return list_source(SourceSettings(kind="hf_parquet", path=str(folder), **settings))


@pytest.mark.parametrize("folder", ["data", "."])
def test_every_row_comes_with_its_label_and_split(tmp_path, folder):
    made = write_hf_parquet(tmp_path / folder)
    found = listing(tmp_path)
    assert contents(found) == made
    assert found.read_in_file_order


@pytest.mark.parametrize("rows_per_group", [1, 3, 100])
def test_rows_may_be_read_in_any_order(tmp_path, rows_per_group):
    made = write_hf_parquet(tmp_path, rows_per_group=rows_per_group)
    found = listing(tmp_path)
    read = pickle.loads(pickle.dumps(found.read))
    for row in reversed(found.items.to_pylist()):
        assert read(row["file"], row["offset"], row["length"]) == made[row["key"]].encoded


def test_a_row_group_is_read_once_for_all_its_rows(tmp_path):
    made = write_hf_parquet(tmp_path, [HfFile("train-0.parquet", [0, 1, 2, 0], None)], rows_per_group=2)
    found = listing(tmp_path)
    assert found.read("train-0.parquet", 0, 0) == made["train-0/000000"].encoded
    path = tmp_path / "train-0.parquet"
    content = bytearray(path.read_bytes())
    for row in range(2):
        at = content.index(made[f"train-0/{row:06d}"].encoded)
        content[at : at + 20] = bytes(20)
    path.write_bytes(content)  # in place: what is read from the file from now on differs
    assert found.read("train-0.parquet", 1, 0) == made["train-0/000001"].encoded


def test_rows_of_a_row_group_are_told_apart_from_others(tmp_path):
    write_hf_parquet(tmp_path, [HfFile("train-0.parquet", [0, 1, 2, 0, 1], None)], rows_per_group=2)
    assert listing(tmp_path).items.column("length").to_pylist() == [0, 0, 1, 1, 2]


def test_class_names_come_from_the_schema(tmp_path):
    write_hf_parquet(tmp_path)
    assert [entry.words for entry in listing(tmp_path).classes] == ["tench", "goldfish", "shark"]
    assert [entry.words for entry in listing(tmp_path, class_names=("a", "b", "c")).classes] == ["a", "b", "c"]


def test_class_names_without_a_schema_are_the_settings_or_numbers(tmp_path):
    write_hf_parquet(tmp_path, class_names=None)
    assert [entry.words for entry in listing(tmp_path).classes] == ["0", "1", "2"]
    assert [entry.words for entry in listing(tmp_path, class_names=("a", "b", "c")).classes] == ["a", "b", "c"]


def test_settings_must_name_as_many_classes_as_the_schema(tmp_path):
    write_hf_parquet(tmp_path)
    with pytest.raises(InputError, match="has 4 names for labels from 0 to 2"):
        listing(tmp_path, class_names=("a", "b", "c", "d"))


def test_a_test_set_is_left_out(tmp_path):
    made = write_hf_parquet(tmp_path)
    write_hf_parquet(tmp_path, [HfFile("test-00000-of-00001.parquet", [-1, -1], None)])
    found = listing(tmp_path)
    assert contents(found) == made
    assert not found.rejects
    assert "1 file of a test set left out" in found.description


def test_without_a_validation_set_the_split_is_left_to_later(tmp_path):
    made = write_hf_parquet(tmp_path, [file._replace(split=None) for file in HF_FILES[:2]])
    assert contents(listing(tmp_path)) == made


def test_labels_that_are_none_or_of_no_class_are_rejects_with_file_and_row(tmp_path):
    write_hf_parquet(tmp_path, [HfFile("0000.parquet", [0, None, 3, -1, 2], None)])
    found = listing(tmp_path)
    assert found.items.column("label").to_pylist() == [0, 2]
    assert [reject.reason for reject in found.rejects] == ["no_label"] * 3
    assert [reject.key for reject in found.rejects] == [f"0000/{row:06d}" for row in (1, 2, 3)]
    assert found.rejects[1].uri == f"{tmp_path}/0000.parquet"
    assert found.rejects[1].detail == "row 2: its label is 3, not from 0 to 2"


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "1.JPEG"}])
def test_a_row_without_image_reads_as_no_bytes(tmp_path, image):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([image, {"bytes": encoded_image("1"), "path": None}], kind)
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train-0.parquet")
    assert [made.encoded for made in contents(listing(tmp_path)).values()] == [b"", encoded_image("1")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"img": [b"x"], "label": [0]}), "its columns are img binary, label int64; expected image"),
        (pa.table({"image": [b"x"], "label": [0]}), "its columns are image binary"),
        (pa.table({"image": [{"bytes": b"x"}], "label": ["cat"]}), "label string"),
        (pa.table({"image": [{"bytes": b"x"}]}), "expected image, a struct with bytes, and label"),
    ],
)
def test_other_columns_are_named(tmp_path, table, message):
    pq.write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=rf"train-0\.parquet: .*{message}"):
        listing(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", bytes(100)])
def test_a_damaged_file_is_named(tmp_path, content):
    write_hf_parquet(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: not readable as Parquet"):
        listing(tmp_path)


def test_a_folder_without_parquet_is_named(tmp_path):
    with pytest.raises(InputError, match="no Parquet files, neither in it nor in data/"):
        listing(tmp_path)


def test_the_fingerprint_changes_with_labels_and_times(tmp_path):
    write_hf_parquet(tmp_path)
    seen = {listing(tmp_path).fingerprint, listing(tmp_path).fingerprint}
    (tmp_path / "train-00000-of-00002.parquet").touch()
    seen.add(listing(tmp_path).fingerprint)
    write_hf_parquet(tmp_path, [HF_FILES[0]._replace(labels=[2, 2, 2, 2, 2])])
    seen.add(listing(tmp_path).fingerprint)
    assert len(seen) == 3


@pytest.mark.attack
@pytest.mark.filterwarnings("ignore:pyarrow.PyExtensionType is deprecated", "ignore::RuntimeWarning")
def test_a_pickle_in_the_schema_of_somebodys_parquet_is_not_unpickled(tmp_path):
    """Arrow's extension types of Python were pickles that reading a file ran, up to pyarrow 14.0.0 (CVE-2023-47248)."""
    write_hf_parquet(tmp_path, [HfFile("train-0.parquet", [0, 1], None)])
    table, trap = pq.read_table(tmp_path / "train-0.parquet"), tmp_path / "sprung"
    hostile = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Hostile(trap)),
    }
    fields = [field.with_metadata(hostile) if field.name == "label" else field for field in table.schema]
    pq.write_table(pa.table(table.columns, pa.schema(fields)), tmp_path / "train-0.parquet")
    assert "extension" in str(pq.read_schema(tmp_path / "train-0.parquet").field("label"))
    with contextlib.suppress(InputError):
        contents(listing(tmp_path))
    assert not trap.exists()
    pickle.loads(pickle.dumps(Hostile(trap)))
    assert trap.exists()  # the trap works


def write_rows(path, rows, value=None):
    """Of one image, or of none, and one label, which take next to nothing however many they are."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", kind), ("label", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as parquet:
        for count in [1_000_000] * (rows // 1_000_000) + [rows % 1_000_000]:
            values = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([value], pa.binary()))
            image = pa.StructArray.from_arrays([values.dictionary_decode(), pa.nulls(count, pa.string())], fields=kind)
            parquet.write_table(pa.table([image, pa.array([0] * count, pa.int64())], schema=schema))


@pytest.mark.attack
def test_a_small_file_of_very_many_rows_costs_no_memory(tmp_path):
    write_rows(tmp_path / "train-0.parquet", 1_500_000)
    assert (tmp_path / "train-0.parquet").stat().st_size < 20_000
    prepare = (
        "from pipelines.config import InputError, SourceSettings\n"
        "from pipelines.preprocess.sources import list_source\n"
        "def answer(path):\n"
        "    try: return str(len(list_source(SourceSettings(kind='hf_parquet', path=path)).items))\n"
        "    except InputError as error: return str(error)\n"
    )
    answers, grown_kib = answers_and_growth(prepare, "answer(line.strip())", [str(tmp_path)])
    assert grown_kib < 50_000
    assert "train-0.parquet: 1,500,000 rows in " in answers[-1]  # behind lines of progress


def test_a_file_of_some_rows_without_images_is_listed(tmp_path):
    write_rows(tmp_path / "train-0.parquet", 50_000)
    assert len(listing(tmp_path).items) == 50_000


@pytest.mark.attack
def test_a_schema_of_brackets_in_brackets_has_no_class_names(tmp_path):
    write_hf_parquet(tmp_path)
    for path in tmp_path.glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"huggingface": "[" * 100_000}), path)
    assert [entry.words for entry in listing(tmp_path).classes] == ["0", "1", "2"]

from concurrent.futures import ThreadPoolExecutor

from pipelines.preprocess.sources.kept import Kept


def test_a_thing_is_made_once_however_many_ask():
    made = []
    kept = Kept[int](2)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: kept.get("a", lambda: made.append(1) or 7), range(100)))
    assert got == [7] * 100
    assert made == [1]


def test_the_oldest_makes_room_for_a_new_one():
    kept = Kept[str](2)
    for name in "abc":
        kept.get(name, lambda name=name: name)
    assert kept.get("c", lambda: "again") == "c"
    assert kept.get("a", lambda: "again") == "again"


def test_what_is_forgotten_is_made_again():
    kept = Kept[int](1)
    kept.get("a", lambda: 1)
    kept.forget()
    assert kept.get("a", lambda: 2) == 2

import re
from importlib.metadata import Distribution

import pytest

from setup.licences import KINDS, PAGE, REASONS, licence_of, names

ROWS = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)[1:])


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("License-Expression: MIT", "MIT"),
        ("License-Expression: Apache-2.0 OR BSD-3-Clause", "Apache, BSD"),
        ("Classifier: License :: OSI Approved :: Python Software Foundation License", "PSF"),
        ("License: BSD 2-Clause", "BSD"),
        ("License-Expression: GPL-3.0-only", ""),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", ""),
        ("License-Expression: MIT AND AGPL-3.0-or-later", ""),
        ("License: ask the author", ""),
        ("Summary: under the MIT licence", ""),
    ],
)
def test_a_licence_is_what_the_package_says_and_unknown_or_conflicting_ones_are_none(tmp_path, said, licence):
    folder = tmp_path / "some-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: some\nVersion: 1\n{said}\n")
    assert licence_of(Distribution.at(folder)) == licence


def test_the_page_has_every_locked_package_under_terms_that_are_accepted():
    assert set(ROWS) == set(names())
    for name, licence in ROWS.items():
        assert licence == REASONS.get(name) or set(licence.split(", ")) <= set(KINDS)

"""The examples do what their READMEs say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.suites import Suite

pytestmark = pytest.mark.docker

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_an_example_passes_as_it_stands(suite: Suite, name: str) -> None:
    shutil.copytree(EXAMPLES / name, suite.pytester.path, dirs_exist_ok=True)
    said = suite.run("-p", "no:cacheprovider")
    assert " passed" in said, said
    assert " failed" not in said
    assert " error" not in said
    assert suite.instances() == []
    assert "pytest" in (EXAMPLES / name / "README.md").read_text(encoding="utf-8")

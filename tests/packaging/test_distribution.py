"""What is built: one wheel, with nothing in it that would clash in site-packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_wheel_holds_three_packages_the_model_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "llmos",
        "llmos_kernel",
        "llmos_tools",
    }
    for name in ("model.safetensors", "tokenizer.json", "config.json", "README.md"):
        assert f"llmos_kernel/model/{name}" in names
    assert wheel.stat().st_size < 64_000_000


def test_the_public_data_are_not_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert not [name for name in listed.stdout.split() if name.endswith((".jsonl.gz", ".pt"))]

"""What is written about the package is what is in it."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


class Reference(unittest.TestCase):
    """docs/PYTHON-API.md."""

    def test_everything_public_is_documented_and_the_page_is_what_the_sources_say(self) -> None:
        made = subprocess.run([sys.executable, str(HERE / "reference.py")], capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        page = HERE.parents[1] / "docs" / "PYTHON-API.md"
        self.assertTrue(page.read_text() == made.stdout, f"make it anew: {HERE}/reference.py > {page}")


if __name__ == "__main__":
    unittest.main()

"""Do what a page says, from first to last, in a process of its own.

    python run_page.py PAGE [WORD=REPLACEMENT ...]

Libraries that leave connections to the garbage collector are at home here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"^```(python|sh)\n(.*?)^```$|^`(\w+\.toml)`:\n\n```toml\n(.*?)^```$", re.M | re.S
)


def run(page, replacements):
    text = Path(page).read_text(encoding="utf-8")
    for word, other in replacements:
        text = text.replace(word, other)
    sys.path.insert(0, "")
    names: dict[str, object] = {}
    for kind, block, name, content in BLOCK.findall(text):
        if name:
            Path(name).write_text(content, encoding="utf-8")
        elif kind == "python":
            exec(compile(block, page, "exec"), names)
        elif not block.startswith("pip "):
            sys.stdout.flush()
            subprocess.run(["bash", "-e", "-c", block], check=True)


if __name__ == "__main__":
    run(sys.argv[1], [word.split("=>") for word in sys.argv[2:]])

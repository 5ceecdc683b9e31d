"""Every command on a page is run by a test; which one is said here, or why none can."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, blocks, name_of, pages
from tests.docs.test_code import RUN

EXAMPLES = "tests/examples/test_"
WHOLE = {
    "docs/howto/chroma.md": f"{EXAMPLES}howto_chroma.py",
    "docs/howto/compare.md": f"{EXAMPLES}front_pages.py",
    "docs/howto/float-to-binary.md": f"{EXAMPLES}05_float_to_binary.py",
    "docs/howto/index-files.md": f"{EXAMPLES}howto_stores_lance_faiss.py",
    "docs/howto/lancedb.md": f"{EXAMPLES}howto_stores_lance_faiss.py",
    "docs/howto/langchain-postgresql.md": f"{EXAMPLES}howto_frameworks.py",
    "docs/howto/llama-index-qdrant.md": f"{EXAMPLES}howto_frameworks.py",
    "docs/howto/milvus.md": f"{EXAMPLES}howto_milvus.py",
    "docs/howto/model-after-model.md": f"{EXAMPLES}howto_mixed.py",
    "docs/howto/on-a-budget.md": f"{EXAMPLES}howto_mixed.py",
    "docs/howto/own-data.md": f"{EXAMPLES}howto_pages.py",
    "docs/howto/postgresql.md": f"{EXAMPLES}howto_postgresql.py",
    "docs/howto/qdrant.md": f"{EXAMPLES}howto_qdrant.py",
    "docs/howto/redis.md": f"{EXAMPLES}howto_redis.py",
    "docs/howto/rehearse.md": f"{EXAMPLES}howto_rehearse.py",
    "docs/howto/serve.md": f"{EXAMPLES}front_pages.py",
    "docs/howto/spark.md": f"{EXAMPLES}howto_mixed.py",
    "docs/howto/small-query-model.md": f"{EXAMPLES}howto_training.py",
    "docs/howto/train-compatible.md": f"{EXAMPLES}howto_training.py",
    "docs/howto/without-contents.md": f"{EXAMPLES}howto_mixed.py",
    "docs/quickstart.md": f"{EXAMPLES}front_pages.py",
}
"""Pages that a test runs from the first command to the last; it names the page."""

ELSEWHERE = {
    "make demo": ("tests/acceptance/test_demo.py", "demo"),
    "make test": ("Makefile", "test:"),  # what runs this
    "hotfill init": (f"{EXAMPLES}front_pages.py", "README.md"),
    "hotfill rehearse": (f"{EXAMPLES}front_pages.py", "README.md"),
    "hotfill start": (f"{EXAMPLES}front_pages.py", "README.md"),
    "hotfill cutover": (f"{EXAMPLES}front_pages.py", "README.md"),
    "hotfill sample": (f"{EXAMPLES}front_pages.py", "README.md"),
    "hotfill worker": ("tests/unit/runners/test_ray.py", '"worker", path, "--ray"'),
    "pytest test_my_store.py": (f"{EXAMPLES}howto_stores.py", "stores.md"),
    "python examples/01": (f"{EXAMPLES}01_to_03.py", "01_images_on_a_laptop"),
    "python examples/02": (f"{EXAMPLES}01_to_03.py", "02_text_with_minilm"),
    "python examples/03": (f"{EXAMPLES}01_to_03.py", "03_paid_api_with_spend_cap"),
    "python examples/05": (f"{EXAMPLES}05_float_to_binary.py", "05_float_to_binary"),
}
"""How a command on another page begins: the test of it, and a word that the test must have."""

NOT_HERE = {
    "docs/howto/deploy.md": "changes the machine, or needs Docker: tests/scenarios/test_deploy.py "
    "checks the files that it takes",
    "docs/howto/kubernetes.md": "needs a cluster: tests/scenarios/test_deploy.py checks the files",
    "docs/reference/cli.md": "made of the commands' help: each command has tests of its own",
}


def is_run_by_its_mark(page, block):
    """The code of some pages is run where it is marked."""
    return name_of(page) in RUN and "<!-- run -->" in block.marks


def lines(block):
    for line in block.text.replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if words and words[0] != "pip":
            yield " ".join(words)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_command_of_a_page_is_run_by_a_test(page):
    if name_of(page) in WHOLE | NOT_HERE:
        return
    unknown = [
        line
        for block in blocks(page)
        if block.kind == "sh" and not is_run_by_its_mark(page, block)
        for line in lines(block)
        if not any(line.startswith(begin) for begin in ELSEWHERE)
    ]
    assert unknown == [], "run them in a test, and say here in which"


@pytest.mark.parametrize(("page", "test"), WHOLE.items())
def test_the_test_of_a_page_names_it(page, test):
    assert (ROOT / page).exists()
    name = page.rpartition("/")[2]
    assert f'"{name}"' in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(("test", "word"), ELSEWHERE.values())
def test_the_test_of_a_command_has_it(test, word):
    assert word in (ROOT / test).read_text(encoding="utf-8")


def test_commands_stand_in_blocks_that_are_looked_at():
    for page in pages():
        for block in blocks(page):
            assert block.kind in ("sh", "python", "toml", "sql", "json", "text"), name_of(page)
            shown = [line for line in lines(block) if line.startswith(("hotfill ", "$ "))]
            assert block.kind == "sh" or not shown or name_of(page) in NOT_HERE, name_of(page)

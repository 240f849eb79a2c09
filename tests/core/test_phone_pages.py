"""The pages about phones: each definition in them can be loaded, and each link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ari_app.certificates import make_self_signed
from ari_app.config import load

PAGES = sorted((Path(__file__).parents[2] / "docs/phones").glob("*.md"))
REST = {
    "numbers": '[numbers]\n"+493012345" = "main"\n',
    "flows": '[flows.main]\nstart = "end"\n[flows.main.nodes.end]\nkind = "hangup"\n',
    "queues": "[queues.sales]\n",
    "sip": '[sip]\ntls = { certificate = "pbx.crt", key = "pbx.key" }\n',
}
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    make_self_signed(made, "pbx.example.net")
    (made / "provider.secret").write_text("secret")
    (made / "provider.secret").chmod(0o600)
    return made


@pytest.mark.parametrize("block", BLOCKS)
def test_a_definition_on_a_page_can_be_loaded(folder: Path, block: str) -> None:
    rest = "[dialling]\nemergency = []\n" + "".join(
        text for table, text in REST.items() if table not in tomllib.loads(block)
    )
    (folder / "centre.toml").write_text(rest + block)
    loaded = load(folder)
    known = ("no flow leads callers here", "no agent serves this queue", "no agent has this phone")
    assert [str(each) for each in loaded.warnings if each.wrong not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (page.parent / target).is_file(), target

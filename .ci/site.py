"""A hook of MkDocs: the site's pages are the repository's files, with links that lead from page to page of the site.

- README.md is the first page; the other pages of the repository's root are pages too.
- A link to a file that is not a page leads to the repository.
- The attributes that tests read after a fence's language (`console exit=2`) are left out.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside of docs/, by their path in the repository: their path on the site."""
_TARGET = re.compile(r"(?<=\]\()[^)\s]+(?=\))|(?<=\]: )\S+$", re.MULTILINE)
_FENCE = re.compile(r"^( {0,3}`{3,})([\w-]*).*$", re.MULTILINE)
_BLOCK = re.compile(r"^ {0,3}(`{3,}).*?^ {0,3}\1 *$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!-- .* -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are outside of docs/."""
    from mkdocs.structure.files import File

    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Return the page with links of the site, and without what only tests read."""
    uri = page.file.src_uri
    source = next((name for name, other in PAGES.items() if other == uri), f"docs/{uri}")
    parts, at = [], 0
    for block in _BLOCK.finditer(markdown):
        parts += [_prose(markdown[at : block.start()], source, config), _FENCE.sub(r"\1\2", block[0])]
        at = block.end()
    return "".join([*parts, _prose(markdown[at:], source, config)])


def _prose(text: str, source: str, config: MkDocsConfig) -> str:
    return _TARGET.sub(lambda found: link(found[0], source, str(config.repo_url)), _COMMENT.sub("", text))


def link(target: str, source: str, repository: str) -> str:
    """Return where a link of a file of the repository leads to on the site."""
    files = f"{repository}/blob/main/"
    name, anchor, fragment = target.partition("#")
    if target.startswith(files):
        path = name.removeprefix(files)
    elif not name or ":" in name:
        return target
    else:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
    here = posixpath.dirname(source.removeprefix("docs/") if source.startswith("docs/") else "")
    if path in PAGES:
        return posixpath.relpath(PAGES[path], here or ".") + anchor + fragment
    if path.startswith("docs/") and path.endswith(".md") and not path.startswith("docs/examples/"):
        return posixpath.relpath(path.removeprefix("docs/"), here or ".") + anchor + fragment
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{repository}/{kind}/main/{path}{anchor}{fragment}"

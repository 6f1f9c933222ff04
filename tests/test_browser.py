"""The browser that tests look at pages with finds what is wrong with a page, and nothing on a good one."""

from __future__ import annotations

import pytest
from browser import problems_of

pytestmark = pytest.mark.xdist_group("browser")

HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page</title>'
    '<meta name="viewport" content="width=device-width">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
GOOD = (
    "<main><h1>Builds</h1><h2>Newest</h2><p>One.</p>"
    '<svg role="img" aria-label="trend" width="9" height="9"><path d="M0,0 9,9"/></svg></main>'
)


@pytest.fixture
def problems(chromium, tmp_path):
    def found(body):
        (tmp_path / "page.html").write_text(f"{HEAD}</head><body>{body}</body></html>", encoding="utf-8")
        return "\n".join(problems_of(chromium, (tmp_path / "page.html").as_uri()))

    return found


def test_a_good_page_has_no_problems(problems):
    assert problems(GOOD) == ""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f'{GOOD}<script>document.title = "changed"</script>', "console: Executing inline script"),
        (f'{GOOD}<img alt="far" src="http://far.example/a.png">', "console: Loading the image"),
        (f'{GOOD}<p style="width: 600px">wide</p>', "390 px, light: too wide: <p"),
        ("<main><h1>Builds</h1><h2>Newest</h2><p></p></main>", "empty: <h2>Newest"),
        (f"{GOOD}<main><table><tr><th>build</th></tr></table></main>", "empty: <table>"),
        (f'{GOOD}<svg role="img" aria-label="trend" width="9" height="9"></svg>', "empty: <svg"),
        ('<main><h1>Builds</h1><p style="color: #bbb">pale</p></main>', "axe-core color-contrast (serious)"),
        ("<main><h1>Builds</h1><input></main>", "axe-core label (critical)"),
    ],
)
def test_what_is_wrong_with_a_page_is_said(problems, body, said):
    assert said in problems(body)

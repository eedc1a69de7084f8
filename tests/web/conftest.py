import os, pytest
from types import SimpleNamespace
from playwright.sync_api import sync_playwright
urls=open("/tmp/wx/urls").read().split()
@pytest.fixture(scope="session", params=[u for u,v in zip(urls,["1.32.9","1.58.1"]) if v in os.environ.get("FE","1.32.9,1.58.1")])
def server(request): return SimpleNamespace(url=request.param)
@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as pw:
        yield pw.chromium.connect_over_cdp("http://127.0.0.1:9333")

"""Who is answered, and what names and addresses made by others can do."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from base64 import b64encode
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
from playwright.sync_api import expect

from ccar.cli import ui
from ccar.cli.places import Places
from ccar.cli.ui import serve_pages
from ccar.data.sources import load_source
from ccar.reports.neutralise import one_line
from ccar.store.trial_store import TrialStore
from ccar.tracking.ui import PASSWORD
from ccar.tracking.web_server import free_port, running
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.guard import guard
from dashboards.library import Library
from tests.cli.test_commands import CCAR
from tests.dashboards.conftest import served, wait_until_it_fits
from tests.dashboards.made_up_store import CLASS_COUNTS, begin, finish, put_study
from tests.data.folders import data_config, write_image
from tests.small_disk import made_read_only
from tests.waiting import SECONDS, wait_until

ROUTES = (
    "/",
    "/study",
    "/_dash-layout",
    "/_dash-dependencies",
    "/assets/dashboards.css",
    "/csv/cells",
    "/mlflow",
    "/x",
)
HOSTILE = (
    "<script>window.caught = 1</script>",
    "<img src=x onerror=window.caught=1>",
    "<svg/onload=window.caught=1>",
    "<a href='javascript:window.caught=1'>click</a>",
    "<b>bold</b> & <i>italic</i>",
    "'\"><h6>out of the attribute</h6>",
    "{{7*7}} ${7*7} %{customdata}",
    "=1+1",
    "\u202eback to front",
)


def asked(address, path, **headers):
    """Status and headers of an answer, under whatever name the server is called."""
    host = urllib.parse.urlsplit(address).netloc
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in {"Host": host, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, body


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A study in which everything that a user names is hostile."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    extra = "  extra:\n" + "".join(
        f"    - {{label: {json.dumps(name)}, base: focal, reweighting: {{omega: 0.{place + 1}}}}}\n"
        for place, name in enumerate(HOSTILE)
        if "/" not in name
    )
    question = "|-\n  " + "\n  ".join(name for name in HOSTILE if name.isprintable())
    trials = put_study(store, bases=["focal"], omegas=[0.95], extra=extra, question=question, baseline="focal")
    for trial in trials[:-1]:
        finish(store, trial)
    begin(store, trials[-1]).fail("OSError: " + " ".join(HOSTILE))
    store.put_study(replace(store.study("made-up"), name=HOSTILE[1]))
    return store


@pytest.fixture(scope="module")
def site(store):
    with served(store, mlflow="http://127.0.0.1:9") as address:
        # "The store is being read: try again."
        wait_until(lambda: asked(address, "/csv/cells?study=unknown")[0] != 503)
        yield address


def elements_of(page):
    """Whether anything ran, and how many elements there are that no page has of its own."""
    return page.evaluate(
        """() => [window.caught, document.querySelectorAll(
            'main script, main img:not([src^="data:image/png;base64,"]), main h6, main i, main svg a').length,
        [...document.querySelectorAll('a')].filter(a => a.protocol === 'javascript:').length]"""
    )


@pytest.mark.parametrize("path", ["/", "/study", "/omega", "/compare", "/trial", "/trial?seed=0"])
def test_hostile_names_add_no_element_and_run_nothing(site, open_page, path):
    path, _, seed = path.partition("?")
    hostile = f"if15/{HOSTILE[1]}"
    said = {"study": "made-up"} | ({"cells": hostile} if path == "/compare" else {"cell": hostile} if seed else {})
    page = open_page(f"{site}{path}?{urllib.parse.urlencode(said)}&{seed}")
    expect(page.locator("#results")).to_contain_text(HOSTILE[1])
    if path not in ("/", "/trial") or seed:
        page.wait_for_selector(".js-plotly-plot .main-svg")
    assert elements_of(page) == [None, 0, 0]


@pytest.mark.parametrize("path", ["/study", "/omega", "/compare", "/trial", "/plan"])
def test_a_hostile_name_of_a_study_adds_no_element_and_runs_nothing(site, open_page, path):
    page = open_page(f"{site}{path}?{urllib.parse.urlencode({'study': HOSTILE[1]})}")
    expect(page.locator("#title")).to_contain_text("Plan" if path == "/plan" else HOSTILE[1])
    expect(page.locator("#plan" if path == "/plan" else "#results")).not_to_be_empty()
    assert elements_of(page) == [None, 0, 0]


def test_hostile_names_of_classes_add_no_element_and_run_nothing(tmp_path, open_page):
    no_folder = str.maketrans("/", "\N{DIVISION SLASH}")
    names = [f"{place}{name.translate(no_folder)}" for place, name in enumerate([*HOSTILE, "q" * 199])]
    assert len(names) == len(CLASS_COUNTS)
    for part in ("train", "test"):
        for name in names:
            write_image(tmp_path / "images" / part / name / "0.png", np.zeros((4, 4, 3), np.uint8))
    store = TrialStore(tmp_path / "store")
    data = data_config("image_folder", root=tmp_path / "images")
    load_source(data, store.root)  # where these tests keep decoded images
    named = put_study(
        store, data=f"image_folder, root: {data.root}", bases=["focal"], omegas=[0.5], seeds=[0], baseline="focal"
    )
    for trial in named:
        finish(store, trial)
    with served(store) as address:
        page = open_page(f"{address}/trial?study=made-up&cell=if15/focal&seed=0")
        shown = [one_line(name) for name in (*names[:3], *names[-3:])]
        expect(page.locator("#examples tbody th")).to_have_text(shown)
        assert elements_of(page) == [None, 0, 0]
        wait_until_it_fits(page, 390)
        page.close()


def test_a_hostile_address_shows_text(site, open_page):
    said = urllib.parse.urlencode(
        dict.fromkeys(["study", "cell", "seed", "base", "search", "cells"], " ".join(HOSTILE))
    )
    page = open_page(f"{site}/study?{said}")
    expect(page.locator("#results")).to_contain_text("The store has no study '<script>window.caught = 1</script>")
    assert elements_of(page) == [None, 0, 0]


def test_an_address_may_say_anything_beside_what_pages_read(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&path=x&fields=y&self=z")
    page.get_by_role("link", name="a table of them").click()
    expect(page).to_have_url(f"{site}/omega?study=made-up&path=x&fields=y&self=z&beside=table")


@pytest.mark.parametrize("wanted", ["../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "made-up/../made-up"])
def test_no_path_comes_from_the_address(site, wanted):
    for path in (f"/csv/cells?study={wanted}", f"/mlflow?study=made-up&key={wanted}", f"/mlflow?study={wanted}&key=x"):
        assert asked(site, path)[0] == 404
    for path in (f"/csv/{wanted}?study=made-up", f"/assets/{wanted}", f"/{wanted}"):
        status, _, body = asked(site, path)
        assert status == 404 or "_dash-renderer" in body  # the frame of the pages, which then says that there is none


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_under_another_name(site, route):
    for host in ("evil.example", "127.0.0.1", "localhost:1", ""):
        status, headers, _ = asked(site, route, Host=host)
        assert status == 403
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_without_the_password_where_there_is_one(guarded, route):
    basic = b64encode(b"anyone:wrong").decode()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {basic}"}):
        status, answer, text = asked(guarded, route, **headers)
        assert (status, answer["WWW-Authenticate"]) == (401, 'Basic realm="ccar", charset="UTF-8"')
        assert text == "The password is missing or wrong.\n"


def test_the_password_lets_in_under_any_user_and_as_bearer_token(guarded):
    basic = b64encode(b"anyone:correct horse").decode()
    for given in ("Bearer correct horse", f"Basic {basic}"):
        assert asked(guarded, "/", Authorization=given)[0] == 200


def refusal(*command, cwd, **environment):
    """What a server says that does not start."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


DASHBOARD = (sys.executable, "-m", "dashboards", "--store", "store")


@pytest.mark.long
@pytest.mark.parametrize("command", [(CCAR, "ui"), (*DASHBOARD, "--port", "1")], ids=["ccar ui", "dashboards"])
def test_who_would_let_others_in_without_a_password_or_under_any_name_is_refused(tmp_path, command):
    assert PASSWORD in refusal(*command, "--host", "127.0.0.2", cwd=tmp_path)
    assert "192.0.2.7" in refusal(*command, "--host", "0.0.0.0", cwd=tmp_path, **{PASSWORD: "correct horse battery"})


@pytest.mark.long
def test_a_server_for_others_listens_where_it_was_told_to_and_asks_for_the_password(tmp_path):
    port = free_port("127.0.0.2")
    command = [*DASHBOARD, "--host", "127.0.0.2", "--port", str(port)]
    address = f"http://127.0.0.2:{port}"
    environment = {**os.environ, PASSWORD: "correct horse battery"}
    with running(command, environment, "the dashboard", address) as server:
        server.wait_until_it_answers("/")
        assert asked(address, "/")[0] == 401
        assert asked(address, "/", Authorization="Bearer correct horse battery")[0] == 200
        assert asked(address, "/", Authorization="Bearer correct horse battery", Host=f"localhost:{port}")[0] == 403
        with pytest.raises(ConnectionRefusedError):
            asked(f"http://127.0.0.1:{port}", "/")


@pytest.mark.long
@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST"])
def test_on_loopback_the_password_is_asked_for_where_one_is_set(tmp_path, monkeypatch, capsys, host):
    monkeypatch.setenv(PASSWORD, "correct horse battery")
    basic = b64encode(b"admin:correct horse battery").decode()
    with serve_pages(Places.of(tmp_path / "store", None), host, free_port("127.0.0.1")) as dashboard:
        mlflow = capsys.readouterr().err.rpartition("MLflow's pages: ")[2].strip()
        for address in (dashboard.address.lower(), mlflow.lower()):  # as browsers say them
            assert asked(address, "/")[0] == 401
            assert asked(address, "/", Authorization=f"Basic {basic}")[0] == 200


@pytest.mark.long
def test_the_store_that_the_pages_make_is_its_owners_alone(tmp_path):
    with serve_pages(Places.of(tmp_path / "store", None), "127.0.0.1", free_port("127.0.0.1")):
        assert (tmp_path / "store" / "mlflow.db").exists()
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


@pytest.mark.long
def test_a_store_that_may_only_be_read_has_its_pages_and_mlflow_is_said_to_be_left_out(tmp_path, capsys):
    store = TrialStore(tmp_path / "store")
    finish(store, put_study(store)[0])
    with made_read_only(store.root), serve_pages(Places.of(store.root, None), "127.0.0.1", None) as dashboard:
        assert asked(dashboard.address, "/")[0] == 200
        assert asked(dashboard.address, "/mlflow?study=made-up")[0] == 404
        said = capsys.readouterr().err
    assert "MLflow's pages are left out" in said
    assert f"cannot write {store.root}" in said


def test_the_pages_on_the_last_port_leave_another_one_to_mlflow(tmp_path, monkeypatch):
    theirs = []
    monkeypatch.setattr(ui, "running", lambda *_: nullcontext(MagicMock()))
    monkeypatch.setattr(ui, "serve", lambda *_, port, **__: nullcontext(theirs.append(port)))
    with serve_pages(Places.of(str(tmp_path), None), "127.0.0.1", 65535):
        assert 0 < theirs[0] < 65535


@pytest.mark.parametrize("host", ["10.0.0.7", "10.0.0.7:80"])
def test_on_the_port_that_browsers_leave_out_the_pages_answer_with_and_without_it(store, host):
    app = build_app(Desk.on(Library(store), store.root, ""))
    guard(app, ["10.0.0.7"], 80, None)
    client = app.server.test_client()
    assert client.get("/", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": "10.0.0.7:5000"}).status_code == 403


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_password_of_the_pages_is_told_to_our_own_mlflow_only(tmp_path, monkeypatch, is_ours):
    begun = {}

    @contextmanager
    def noted(command, environment, name, address):
        begun.update(environment)
        yield MagicMock()

    monkeypatch.setattr(ui, "running", noted)
    monkeypatch.setattr(ui, "serve", lambda *_, **__: nullcontext())
    monkeypatch.setenv(PASSWORD, "correct horse battery")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of the team")
    mlflow = f"sqlite:///{tmp_path / 'mlflow.db'}" if is_ours else "https://mlflow.example"
    with serve_pages(Places.of(str(tmp_path), mlflow), "127.0.0.2", None):
        pass
    sent = begun["MLFLOW_TRACKING_USERNAME"], begun["MLFLOW_TRACKING_PASSWORD"]
    assert sent == (("admin", "correct horse battery") if is_ours else ("me", "of the team"))


@pytest.fixture(scope="module")
def guarded(store):
    with served(store, password="correct horse") as address:
        yield address


def test_the_policy_allows_no_script_but_ours_and_no_other_site(site):
    _, headers, _ = asked(site, "/")
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert "unsafe" not in policy["script-src"]
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "Access-Control-Allow-Origin" not in headers


def test_mlflow_that_is_absent_is_said_and_breaks_nothing(site, store, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell=if15/focal&seed=0")
    expect(page.get_by_role("link", name="run", exact=True)).to_be_visible()
    key = next(trial.key for trial in store.study("made-up").trials)
    assert asked(site, f"/mlflow?study=made-up&key={key}")[0] == 503


@pytest.mark.parametrize("line", ["pretrained: /etc/passwd", "pretrained: ${SECRET}", 'resources: "\\u0024{SECRET}"'])
def test_a_plan_opens_no_file_that_its_text_names(site, monkeypatch, open_page, line):
    monkeypatch.setenv("SECRET", "not for others")
    page = open_page(f"{site}/plan")
    box = page.get_by_label("Study file")
    box.fill(box.input_value().replace("model: small_cnn", f"model: resnet50\n{line}"))
    expect(page.locator("#plan")).to_contain_text("are not looked at here")
    assert "not for others" not in page.content()

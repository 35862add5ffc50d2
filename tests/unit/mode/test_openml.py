"""Tables of the MoDE paper by name, fetched by scikit-learn from a server that answers as OpenML does."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from moist.errors import InputError
from moist.mode.tables import load_table
from sklearn.datasets import _openml

ADDRESSES = ("_SEARCH_NAME", "_DATA_INFO", "_DATA_FEATURES", "_DATA_QUALITIES")
KARHUNEN = 16
ROWS = [("1.5", "2", "4"), ("-3", "4e2", "10"), ("0", "5", "4"), ("7", "1", "9"), ("8", "2", "10")]


class OpenML:
    """One table under OpenML's number 16; everything else is unknown to it, which it says with status 412."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.kinds = {"a": "numeric", "b": "numeric", "class": "nominal"}
        self.rows = ROWS
        self.targets = {"class"}
        answer, asked = self.answer, self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                content = answer(self.path)
                self.send_response(412 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def arff(self) -> bytes:
        types = {"numeric": "real", "nominal": "{4,9,10,red,blue}"}
        lines = [f"@attribute {name} {types[kind]}" for name, kind in self.kinds.items()]
        return "\n".join(["@relation t", *lines, "@data", *map(",".join, self.rows)]).encode() + b"\n"

    def answer(self, path: str) -> bytes | None:
        if path == "/data/v1/download/16/t.arff":
            return self.arff
        columns = [
            {
                "index": str(index),
                "name": name,
                "data_type": kind,
                "is_target": str(name in self.targets).lower(),
                "is_ignore": "false",
                "is_row_identifier": "false",
                "number_of_missing_values": "0",
            }
            for index, (name, kind) in enumerate(self.kinds.items())
        ]
        known = {
            "data": {
                "data_set_description": {
                    "id": str(KARHUNEN),
                    "name": "mfeat-karhunen",
                    "description": "Digits as Karhunen-Love coefficients.",
                    "version": "1",
                    "format": "ARFF",
                    "status": "active",
                    "url": f"{self.address}/data/v1/download/16/t.arff",
                    "md5_checksum": hashlib.md5(self.arff).hexdigest(),
                }
            },
            "features": {"data_features": {"feature": columns}},
            "qualities": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(self.rows))}]}},
        }
        found = {f"/api/v1/json/data/{KARHUNEN}": "data"} | {
            f"/api/v1/json/data/{what}/{KARHUNEN}": what for what in ("features", "qualities")
        }
        return json.dumps(known[found[path]]).encode() if path in found else None


@pytest.fixture
def openml(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenML]:
    if not all(hasattr(_openml, name) for name in ADDRESSES):
        pytest.skip("this scikit-learn keeps OpenML's address where the test does not know it")
    one = OpenML()
    for name in ADDRESSES:
        monkeypatch.setattr(_openml, name, getattr(_openml, name).replace("https://www.openml.org", one.address))
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


def test_a_table_of_the_paper_is_fetched_by_name_and_kept(openml: OpenML, tmp_path: Path) -> None:
    table = load_table("mfeat-karhunen", cache=tmp_path)
    assert f"/api/v1/json/data/{KARHUNEN}" in openml.asked
    assert (table.name, table.feature_names, table.classes) == ("mfeat-karhunen", ("a", "b"), ("4", "9", "10"))
    np.testing.assert_array_equal(table.features, np.array([[float(a), float(b)] for a, b, _ in ROWS], np.float32))
    assert table.labels.tolist() == [0, 2, 0, 1, 2]
    openml.asked.clear()
    again = load_table(str(KARHUNEN), cache=tmp_path)
    np.testing.assert_array_equal(again.features, table.features)
    assert openml.asked == []


def test_another_column_can_be_the_class(openml: OpenML, tmp_path: Path) -> None:
    openml.kinds = {"a": "numeric", "class": "numeric", "colour": "nominal"}
    openml.rows = [(a, b, ("red", "blue")[i % 2]) for i, (a, b, _) in enumerate(ROWS)]
    assert load_table("16", "colour", tmp_path).classes == ("blue", "red")


@pytest.mark.parametrize("targets", [set(), {"b", "class"}])
def test_a_table_without_one_target_needs_its_name(openml: OpenML, tmp_path: Path, targets: set[str]) -> None:
    openml.targets = targets
    openml.kinds["class"] = "numeric"
    with pytest.raises(InputError, match="has no column, or several, that is its target by default: name one"):
        load_table("16", cache=tmp_path)
    assert len(load_table("16", "class", tmp_path).classes) == 3


@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of what it tries again
@pytest.mark.parametrize(
    ("source", "kinds", "row", "said"),
    [
        ("17", {}, ROWS[0], r"OpenML table 17 \(id 17\) could not be had: .*not found.*give a file instead"),
        ("16", {"b": "nominal"}, ("1", "red", "4"), "OpenML table 16: column 'b' is not numeric"),
        ("16", {}, ("1", "?", "4"), "table 16, row 6, column 'b': the value is missing or not finite"),
    ],
)
def test_what_cannot_be_used_gets_one_sentence(
    openml: OpenML, tmp_path: Path, source: str, kinds: dict[str, str], row: tuple[str, ...], said: str
) -> None:
    openml.kinds |= kinds
    openml.rows = [(a, "blue" if kinds else b, c) for a, b, c in ROWS] + [row]
    with pytest.raises(InputError, match=said) as error:
        load_table(source, cache=tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")

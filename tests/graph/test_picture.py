"""A graph in a notebook is a picture, with every name and every text of an engine escaped."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from aegisrt.deployment import resolve
from tests.runtime.models import affine

SVG = "{http://www.w3.org/2000/svg}"


def graph(folder, **model):
    path = str(affine(folder))
    models = {name: {"path": path, "backend": "mock", **model} for name in ("first", "second")}
    return resolve({"models": models}).unwrap().graph


def test_a_graph_is_a_picture_in_a_notebook(tmp_path):
    shown = graph(tmp_path, instances=3)
    picture = ElementTree.fromstring(shown._repr_html_())
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"first x3", "second x3", "mock", "cpu", "model", "backend", "device"} <= set(texts)
    assert len(list(picture.iter(f"{SVG}rect"))) == len(shown.nodes)
    assert len(list(picture.iter(f"{SVG}path"))) == len(shown.edges)


def test_boxes_do_not_lie_on_each_other(tmp_path):
    picture = ElementTree.fromstring(graph(tmp_path)._repr_html_())
    boxes = [tuple(float(box.get(key)) for key in ("x", "y", "width", "height")) for box in picture.iter(f"{SVG}rect")]
    assert all(
        x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1
        for at, (x1, y1, w1, h1) in enumerate(boxes)
        for x2, y2, w2, h2 in boxes[at + 1 :]
    )
    width, height = float(picture.get("width")), float(picture.get("height"))
    assert all(x + w <= width and y + h <= height for x, y, w, h in boxes)


def test_markup_in_an_engines_text_is_shown_as_text(tmp_path):
    plain = graph(tmp_path)
    nasty = tuple(replace(node, metadata={"engine": "<script>\x1b</script>"}, reason="</svg>") for node in plain.nodes)
    markup = replace(plain, nodes=nasty)._repr_html_()
    assert "<script>" not in markup
    assert markup.count("</svg>") == 1
    titles = [element.text for element in ElementTree.fromstring(markup).iter(f"{SVG}title")]
    assert any("engine: <script>\\x1b</script>" in title for title in titles)


def test_a_graph_has_a_short_repr(tmp_path):
    assert repr(graph(tmp_path)) == "<Graph: first on mock, cpu; second on mock, cpu>"


def test_a_graph_of_no_models_can_be_shown():
    empty = resolve({"backends": {"mock": {"kind": "mock"}}}).unwrap().graph
    assert repr(empty) == "<Graph: no models>"
    assert ElementTree.fromstring(empty._repr_html_()).tag == f"{SVG}svg"

import pytest

from tests.ci.expressions import UnknownError, evaluate, substitute

CONTEXTS = {
    "github": {"event_name": "push", "ref": "refs/heads/Main", "event": {"repository": {"default_branch": "main"}}},
    "matrix": {"extras": ["a", "b"], "none": None, "text": "x", "minutes": 5},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("github.event_name == 'push'", True),
        ("github.ref == format('refs/heads/{0}', github.event.repository.default_branch)", True),
        ("github.event_name != 'push' || matrix.text", "x"),
        ("!matrix.none && (matrix.text == 'y')", False),
        ("github.event.pull_request.head", None),
        ("join(matrix.extras, ',')", "a,b"),
        ("fromJSON('{\"include\": []}')", {"include": []}),
        ("'it''s'", "it's"),
        ("always()", True),
    ],
)
def test_a_value(expression, value):
    assert evaluate(expression, CONTEXTS) == value


@pytest.mark.parametrize(
    "expression",
    [
        "secrets.TOKEN", "matrix.extra", "github.actor", "hashFiles('x')", "matrix.extras[0]", "matrix.text ==",
        "1 < 2", "matrix.text == matrix.none", "(matrix.text", "join(matrix.extras, ','", "matrix.text 'x'",
        "matrix.text.x.y",
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(expression):
    with pytest.raises((UnknownError, TypeError, AttributeError)):
        evaluate(expression, CONTEXTS)


def test_a_text_with_holes():
    assert substitute("a ${{ matrix.text }} ${{ matrix.none }}-${{ matrix.minutes }}", CONTEXTS) == "a x -5"
    assert substitute("${{ matrix.extras }}", CONTEXTS) == ["a", "b"]
    with pytest.raises(UnknownError):
        substitute("a ${{ matrix.extras }}", CONTEXTS)

"""Optimization profiles: derived, declared, and chosen at a call."""

import pytest
from pydantic import ValidationError

from aegisrt.backends.tensorrt.options import InputRange, TensorRTOptions
from aegisrt.backends.tensorrt.profiles import NetworkInput, choose, outside, profiles_for
from aegisrt.core.result import ErrorCode, ResultError

IMAGE = NetworkInput("image", (-1, 3, 8, 8))


def span(low, middle, high):
    return InputRange(min=low, opt=middle, max=high)


def refusal(inputs, declared=()):
    with pytest.raises(ResultError) as caught:
        profiles_for(inputs, declared, 4)
    return caught.value.error


def test_the_batch_is_derived():
    (profile,) = profiles_for([IMAGE, NetworkInput("fixed", (2, 2))], [], 4)
    assert profile == {"image": span((1, 3, 8, 8), (4, 3, 8, 8), (4, 3, 8, 8))}


def test_without_a_limit_the_batch_is_as_large_as_small_rows_allow():
    def largest(*inputs):
        return profiles_for(inputs, [], None)[0][inputs[0].name]

    assert largest(NetworkInput("digits", (-1, 1, 8, 8))).max == (1024, 1, 8, 8)
    assert largest(NetworkInput("digits", (-1, 1, 8, 8))).opt == (32, 1, 8, 8)
    assert largest(NetworkInput("picture", (-1, 3, 224, 224))).max == (32, 3, 224, 224)
    assert largest(NetworkInput("small", (-1, 3, 32, 32))).max == (341, 3, 32, 32)
    assert largest(NetworkInput("tokens", (-1, 16), holds_numbers=False)).max == (32, 16)
    both = largest(NetworkInput("digits", (-1, 1, 8, 8)), NetworkInput("ids", (-1, 2), holds_numbers=False))
    assert both.max == (32, 1, 8, 8)


def test_a_model_of_fixed_shapes_needs_none():
    assert profiles_for([NetworkInput("fixed", (2, 2)), NetworkInput("scalar", ())], [], 4) == []


def test_other_dynamic_dimensions_must_be_declared_and_the_hint_can_be_pasted():
    error = refusal([NetworkInput("x", (-1, 3, -1, -1))])
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "[?,3,?,?]" in error.message
    assert "profiles: {x: {min: [1, 3, 1, 1], opt: [32, 3, 32, 32], max: [32, 3, 32, 32]}}" in error.hint


def test_other_dynamic_dimensions_may_have_one_limit():
    (profile,) = profiles_for([NetworkInput("x", (-1, 3, -1))], [], 4, 64)
    assert profile == {"x": span((1, 3, 1), (4, 3, 64), (4, 3, 64))}


def test_a_tensor_that_holds_sizes_must_be_declared():
    assert "holds sizes" in refusal([NetworkInput("sizes", (2,), holds_sizes=True)]).message


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"imag": span((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))}, "not an input"),
        ({"image": span((1,), (1,), (1,))}, "[?,3,8,8]"),
        ({"image": span((1, 4, 8, 8), (1, 4, 8, 8), (1, 4, 8, 8))}, "profiles.image.min"),
    ],
)
def test_a_profile_that_does_not_fit_the_model(declared, words):
    error = refusal([IMAGE], [declared])
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert words in error.message


def test_a_profile_that_leaves_out_a_dynamic_input():
    fixed = {"image": span((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))}
    assert "leaves out input `other`" in refusal([IMAGE, NetworkInput("other", (-1,))], [fixed]).message


def test_a_declared_profile_of_a_fixed_input_is_checked_and_not_built():
    fixed = NetworkInput("fixed", (2, 2))
    assert profiles_for([fixed], [{"fixed": span((2, 2), (2, 2), (2, 2))}], 4) == []


@pytest.mark.parametrize(
    "profile",
    [
        {"min": [4, 3], "opt": [2, 3], "max": [8, 3]},
        {"min": [1, 3], "opt": [9, 3], "max": [8, 3]},
        {"min": [1], "opt": [2, 3], "max": [8, 3]},
        {"min": [-1, 3], "opt": [2, 3], "max": [8, 3]},
        {"min": [1, 3], "opt": [2, 3]},
    ],
)
def test_a_range_that_is_none_is_refused_with_the_manifest(profile):
    with pytest.raises(ValidationError):
        TensorRTOptions.parse({"profiles": {"x": profile}})


def test_more_profiles_name_the_same_inputs():
    one = {"min": [1], "opt": [1], "max": [2]}
    with pytest.raises(ValidationError, match="must name the inputs"):
        TensorRTOptions.parse({"profiles": {"x": one}, "more_profiles": {"large": {"y": one}}})
    with pytest.raises(ValidationError, match="which is missing"):
        TensorRTOptions.parse({"more_profiles": {"large": {"y": one}}})
    assert (
        len(TensorRTOptions.parse({"profiles": {"x": one}, "more_profiles": {"l": {"x": one}}}).declared_profiles) == 2
    )


def test_the_choice_keeps_the_current_profile_where_it_fits():
    small, large = {"x": span((1,), (2,), (4,))}, {"x": span((1,), (8,), (16,))}
    assert choose({"x": (3,)}, [small, large], 1) == 1
    assert choose({"x": (8,)}, [small, large], 0) == 1
    assert choose({"x": (17,)}, [small, large], 0) == -1
    assert choose({"x": (1,)}, [], 0) == -1


def test_shapes_outside_name_the_input_and_every_range():
    small, large = {"a": span((1,), (2,), (4,)), "x": span((1,), (2,), (4,))}, {"x": span((8,), (8,), (16,))}
    message = outside({"a": (1,), "x": (6,)}, [small, large]).error.message
    assert "`x` has shape [6]" in message
    assert "[1] to [4] or [8] to [16]" in message

import pytest

from synaug.run.parameters import PROFILES, read_parameters, resolve_profile, with_defaults


def run(profile, reverse_steps=None, seeds=(0,)):
    return profile, reverse_steps, seeds


def test_values_are_returned_by_name():
    namespace = {"profile": "smoke", "reverse_steps": [0, 100], "In": [""], "Out": {}, "_": 3, "pytest": pytest, "run": run}
    assert read_parameters(namespace, run) == {"profile": "smoke", "reverse_steps": [0, 100]}
    assert read_parameters({"profile": "smoke"}, ["profile"]) == {"profile": "smoke"}


@pytest.mark.parametrize("value", [5, 0.5, True, "x", [1], {"a": 1}, None])
def test_a_misspelt_name_is_refused_with_the_closest_one(value):
    with pytest.raises(ValueError, match="unknown parameter: revers_steps.*'reverse_steps'.*profile, reverse_steps, seeds"):
        read_parameters({"profile": "smoke", "revers_steps": value}, run)


def test_running_the_cell_again_after_others_is_fine():
    namespace = {"profile": "smoke"}
    read_parameters(namespace, run)
    namespace |= {"profile": "quick", "count": 3}
    assert read_parameters(namespace, run) == {"profile": "quick"}


def test_a_function_that_takes_any_name_is_refused():
    def anything(profile, **others):
        return profile, others

    with pytest.raises(TypeError, match="anything takes"):
        read_parameters({"profile": "smoke"}, anything)


def test_profile_from_argument_environment_and_default(monkeypatch):
    monkeypatch.delenv("SYNAUG_PROFILE", raising=False)
    assert resolve_profile() == resolve_profile(None) == "quick"
    monkeypatch.setenv("SYNAUG_PROFILE", "smoke")
    assert resolve_profile() == "smoke"
    assert resolve_profile("paper") == "paper"


@pytest.mark.parametrize("profile", ["fast", "", "Quick", 3])
def test_unknown_profile(profile):
    with pytest.raises(ValueError, match=", ".join(PROFILES)):
        resolve_profile(profile)


def test_unknown_profile_in_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("SYNAUG_PROFILE", "fast")
    with pytest.raises(ValueError, match="environment variable SYNAUG_PROFILE is 'fast'"):
        resolve_profile()


def test_defaults_complete_a_call():
    def function(a, b=2, *, c=None):
        pass

    assert with_defaults(function, {"c": 3, "a": 1}) == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(TypeError, match="'d'"):
        with_defaults(function, {"a": 1, "d": 4})

"""The configurations of an ablation: which tricks are on in each."""

import dataclasses

FULL, PLAIN = "full", "plain"


@dataclasses.dataclass(frozen=True)
class Toggle:
    """A trick, with what the setting of its name is without it and with it."""

    name: str
    off: object
    on: object


def check_toggles(toggles):
    """`toggles`, a dictionary of pairs or a list of names, as a list of `Toggle`.

    Raises:
        TypeError: it is something else.
        ValueError: it is empty, names a trick twice, or one whose two values are the same.
    """
    if isinstance(toggles, str) or not isinstance(toggles, (dict, list, tuple)):
        raise TypeError(
            "`toggles` must be a dictionary from names to pairs (value without, value with the "
            f"trick), or a list of names. Received: toggles={toggles!r}."
        )
    if not isinstance(toggles, dict):
        names = list(toggles)
        toggles = {name: (False, True) for name in names if isinstance(name, str)}
        if len(toggles) < len(names):
            raise ValueError(
                f"`toggles` must be a list of names that differ. Received: toggles={names!r}."
            )
    if not toggles:
        raise ValueError("`toggles` is empty: there is no trick to switch on or off.")
    checked = []
    for name, pair in toggles.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"`toggles` must have names as keys. Received: {name!r}.")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                "`toggles` must give for each name a pair (value without, value with the trick). "
                f"Received: {name!r}: {pair!r}."
            )
        if _are_equal(*pair):
            raise ValueError(
                f"`toggles`: the two values of {name!r} are the same, {pair[0]!r}: switching it "
                "changes nothing."
            )
        checked.append(Toggle(name, *pair))
    return checked


def settings_of(toggles, on):
    """The settings of the configuration in which exactly the tricks named in `on` are on."""
    return {toggle.name: toggle.on if toggle.name in on else toggle.off for toggle in toggles}


def configurations(toggles):
    """The tricks that are on in each configuration: a dictionary from its name to a frozen set.

    It begins with `"full"` and `"plain"`; then come `"without <trick>"` and `"with <trick>"`. Of
    one or two tricks some are the same: then they have the same set.
    """
    names = [toggle.name for toggle in toggles]
    everything = frozenset(names)
    return {
        FULL: everything,
        PLAIN: frozenset(),
        **{f"without {name}": everything - {name} for name in names},
        **{f"with {name}": frozenset([name]) for name in names},
    }


def _are_equal(first, second):
    """Whether two values are the same; never for those that compare elementwise."""
    if type(first) is not type(second):
        return False
    try:
        return first is second or bool(first == second)
    except (TypeError, ValueError):
        return False

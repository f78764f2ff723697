"""What the pictures and films of trajectories show."""

import numpy as np
import pytest

import keras_deeptricks as kdt
from keras_deeptricks.visualization import animate_trajectories, plot_trajectories


def trajectory(optimizer="SGD", steps=10, **changes):
    """A made-up path on the quadratic, or with other fields."""
    grid_x, grid_y = np.linspace(-10, 10, 21), np.linspace(-2, 2, 11)
    positions = np.stack([9 * 0.8 ** np.arange(steps + 1), np.linspace(1.5, 0, steps + 1)], axis=1)
    fields = {
        "positions": positions,
        "values": kdt.diagnostics.SURFACES["quadratic"](*positions.T),
        "optimizer": optimizer,
        "surface": "quadratic",
        "stopping_reason": "completed",
        "grid_x": grid_x,
        "grid_y": grid_y,
        "grid_values": kdt.diagnostics.SURFACES["quadratic"](*np.meshgrid(grid_x, grid_y)),
        "minimum": np.zeros(2),
    }
    return kdt.diagnostics.OptimizerTrajectory(**{**fields, **changes})


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, label):
    """The only line of that label."""
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def test_one_path_over_the_contours_of_its_surface():
    path = trajectory()
    ax = path.plot()
    np.testing.assert_array_equal(line(ax, "SGD").get_xydata(), path.positions)
    np.testing.assert_array_equal(line(ax, "minimum").get_xydata(), [[0, 0]])
    assert line(ax, "minimum").get_marker() == "*"
    assert labels(ax) == ["SGD", "minimum"]
    assert ax.get_legend().get_title().get_text() == "quadratic"
    assert (ax.get_xlim(), ax.get_ylim()) == ((-10, 10), (-2, 2))
    # The ring of the start and the dot of the end.
    markers = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert sorted(markers) == sorted([[path.positions[0].tolist()], [path.positions[-1].tolist()]])


def test_the_contours_are_logarithmic():
    ax = plot_trajectories(trajectory())
    filled, lines = ax.collections
    assert len(lines.levels) > 10
    # The levels are equally spaced over ln(value + c): 250 at the corner to 0 at the minimum.
    np.testing.assert_allclose(np.diff(lines.levels), lines.levels[1] - lines.levels[0])
    top, bottom = np.exp(lines.levels[-1]), np.exp(lines.levels[0])
    assert top - bottom == pytest.approx(250)
    # c is so small that but a few of a hundred points lie below it.
    assert (trajectory().grid_values < bottom).mean() == pytest.approx(0.04, abs=0.02)
    np.testing.assert_array_equal(filled.levels, lines.levels)


def test_several_paths_in_their_colors():
    ax = plot_trajectories([trajectory(), trajectory("Adam", steps=3), trajectory()])
    assert labels(ax) == ["SGD", "Adam", "SGD′", "minimum"]
    lines = [line(ax, label) for label in ("SGD", "Adam", "SGD′")]
    assert len({drawn.get_color() for drawn in lines}) == 3
    assert [len(drawn.get_xydata()) for drawn in lines] == [11, 4, 11]


def test_a_dictionary_names_the_paths():
    ax = plot_trajectories({"η = 0.1": trajectory(), 2: trajectory()})
    assert labels(ax) == ["η = 0.1", "2", "minimum"]


def test_the_label_tells_of_an_early_end():
    ax = plot_trajectories(
        [trajectory(stopping_reason="diverged"), trajectory(stopping_reason="not_finite")]
    )
    assert labels(ax)[:2] == ["SGD (diverged)", "SGD′ (not finite)"]


def test_a_surface_without_minimum_and_with_holes():
    values = np.array(trajectory().grid_values) - 100  # also below zero
    values[0, 0], values[1, 1] = np.nan, np.inf
    ax = plot_trajectories(trajectory(grid_values=values, minimum=None))
    assert labels(ax) == ["SGD"]
    filled, _ = ax.collections
    assert np.isfinite(filled.levels).all()
    ax.figure.canvas.draw()


def test_a_plane_has_no_contours():
    ax = plot_trajectories(trajectory(grid_values=np.full((11, 21), 3.0)))
    assert not ax.collections
    ax.figure.canvas.draw()


def test_the_widest_region_is_drawn():
    narrow = {"grid_x": np.linspace(-1, 1, 21), "grid_y": np.linspace(-1, 1, 11)}
    ax = plot_trajectories([trajectory(**narrow), trajectory()])
    assert ax.get_xlim() == (-10, 10)


def test_draws_on_given_axes():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert trajectory().plot(ax=ax) is ax


def test_film_is_saved(tmp_path):
    from PIL import Image

    path = tmp_path / "film.gif"
    paths = [trajectory(), trajectory("Adam", steps=4)]
    film = animate_trajectories(paths, path, frames=6, interval=200)
    with Image.open(path) as image:
        # The last frame is held, which Pillow writes as one long one.
        assert image.n_frames == 6
        assert image.info["duration"] == 200
        image.seek(5)
        assert image.info["duration"] >= 1000
    assert list(film.new_frame_seq())[:7] == [0, 2, 4, 6, 8, 10, 10]


def test_film_shows_the_path_up_to_the_step(tmp_path):
    import matplotlib.pyplot as plt

    paths = [trajectory(), trajectory("Adam", steps=4)]
    seen = []
    film = animate_trajectories(paths, frames=3, interval=1000)
    ax = plt.gcf().axes[0]
    film.save(
        tmp_path / "film.gif",
        writer="pillow",
        progress_callback=lambda *_: seen.append(
            [line(ax, label).get_xydata().copy() for label in ("SGD", "Adam")]
        ),
    )
    # The steps 0, 5 and 10 of the longer path; the shorter one rests at its end.
    for shown, step in zip(seen, (0, 5, 10), strict=False):
        np.testing.assert_array_equal(shown[0], paths[0].positions[: step + 1])
        np.testing.assert_array_equal(shown[1], paths[1].positions[: step + 1])
    assert len(seen) == 4


def test_film_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = animate_trajectories(trajectory(), frames=2, interval=1000)
    film.to_jshtml()  # Matplotlib warns of a film that nobody has seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "trajectories",
    [[], {}, [trajectory(), trajectory(surface="beale")]],
    ids=["empty list", "empty dictionary", "two surfaces"],
)
@pytest.mark.parametrize("draw", [plot_trajectories, animate_trajectories])
def test_one_surface_is_needed(draw, trajectories):
    with pytest.raises(ValueError, match="all of one surface"):
        draw(trajectories)


@pytest.mark.parametrize("trajectories", [None, "SGD", [None], {"SGD": 1.0}])
@pytest.mark.parametrize("draw", [plot_trajectories, animate_trajectories])
def test_something_else_is_refused(draw, trajectories):
    with pytest.raises(TypeError, match="`trajectories` must be"):
        draw(trajectories)


@pytest.mark.parametrize(
    "name, value",
    [("path", "film.mp4"), ("path", "film"), ("frames", 1), ("frames", 2.5), ("interval", 0)],
)
def test_bad_films_are_refused_by_name(name, value):
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must .*Received"):
        animate_trajectories(trajectory(), **{name: value})

"""What is written about a release: its figures in ``metrics.json``, and its card."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from events.metrics_document import FigureUnit, HeadlineQuestion, LocationFigures, MetricsDocument
from tests.training.made_up_floor import CELLS, HALL, QUICK, survey_lines, survey_text
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files
from trainer.training.reports.card import card_html
from trainer.training.reports.floor_map import floor_map_svg
from trainer.training.reports.floor_plan import NoPicture

HOSTILE = """<script>alert('&"')</script>"""


def document_of(result: TrainingResult) -> MetricsDocument:
    text = (result.bundle.parent / "metrics.json").read_text()
    return MetricsDocument.model_validate(json.loads(text, parse_constant=_refuse))


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_the_headline_is_the_mean_error_with_its_interval_rows_and_question(
    trained: TrainingResult,
) -> None:
    document = document_of(trained)
    headline = document.headline

    assert headline is not None
    assert (headline.value, headline.unit) == (document.mean_error_m, FigureUnit.METRES)
    assert document.intervals is not None
    assert headline.interval == document.intervals.mean_error_m
    assert headline.interval is not None
    assert headline.interval.low < headline.value < headline.interval.high
    assert headline.rows == document.held_out_rows
    assert headline.locations == sum(cell.rows > 0 for cell in document.cells)
    assert headline.question is HeadlineQuestion.UNSEEN_VISITS


def test_without_positions_the_headline_is_the_share_of_exact_answers(tmp_path: Path) -> None:
    survey = tmp_path / "survey.csv"
    survey.write_text(survey_text(survey_lines(visits=1)).replace("A01", "kitchen"))

    document = document_of(train_files([survey], tmp_path / "out", 1, HALL, QUICK))

    assert document.headline is not None
    assert document.headline.unit is FigureUnit.SHARE
    assert document.headline.value == document.exact_accuracy
    assert document.headline.question is HeadlineQuestion.ENDS_OF_SEEN_VISITS
    assert 1 < document.headline.locations < len(CELLS), "14 rows were held out"


class _Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [tag] * (tag in {"script", "link", "img", "iframe"})
        self.loads += [name for name, _ in attrs if name in {"src", "href"}]


def loads_of(page: str) -> list[str]:
    links = _Links()
    links.feed(page)
    return links.loads


def test_the_card_stands_alone_and_says_what_matters(trained: TrainingResult) -> None:
    page = (trained.bundle.parent / "model-card.html").read_text()

    assert loads_of(page) == []
    assert "url(" not in page
    assert "prefers-color-scheme:dark" in page
    for said in (trained.release_id, trained.digest, "walk.csv", trained.scheme.value):
        assert said in page
    assert f"{trained.metrics.exact_accuracy:.1%}" in page


def test_markup_in_labels_beacons_and_file_names_does_not_reach_the_card(tmp_path: Path) -> None:
    survey = tmp_path / "<b>walk&.csv"
    text = survey_text(survey_lines()).replace("A01", "<b>&A").replace("b3", "<i>b3")
    survey.write_text(text)

    result = train_files([survey], tmp_path / "out", 1, HALL, QUICK)

    page = (result.bundle.parent / "model-card.html").read_text()
    for escaped in ("&lt;b&gt;&amp;A", "&lt;i&gt;b3", "&lt;b&gt;walk&amp;.csv"):
        assert escaped in page
    assert not re.search(r"<b>&A|<i>|<b>walk", page)


def texts(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in a document."""
    if isinstance(document, str):
        yield place
    elif isinstance(document, dict | list):
        keys = document if isinstance(document, dict) else range(len(document))
        for key in keys:
            yield from texts(document[key], (*place, key))


FORMER = json.loads(
    (Path(__file__).parents[1] / "events" / "metrics_before_headline.json").read_text()
)


def card_of(document: MetricsDocument) -> str:
    """A card whose site, release and floor plan are hostile too."""
    about = SimpleNamespace(
        release_id=HOSTILE,
        digest=HOSTILE,
        site=SimpleNamespace(name=HOSTILE, beacons={HOSTILE: (1.0, 1.0)}),
        errors_m=None,
        context=SimpleNamespace(floor_plan=NoPicture(HOSTILE)),
    )
    return card_html(document, about)


@pytest.mark.parametrize("place", list(texts(FORMER)), ids=lambda place: ".".join(map(str, place)))
def test_no_text_of_the_figures_is_markup_on_the_card(place: tuple[Any, ...]) -> None:
    figures = json.loads(json.dumps(FORMER))
    holder = figures
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = HOSTILE
    try:
        document = MetricsDocument.model_validate(figures)
    except ValidationError:
        return  # the contract allows certain words only

    assert loads_of(card_of(document)) == []


def test_a_card_is_drawn_from_the_figures_of_a_former_release() -> None:
    page = card_of(MetricsDocument.model_validate(FORMER))

    assert loads_of(page) == []
    assert page.count("&lt;script&gt;") == 8, "release and beacon stand in several places"
    for title in ("Accuracy by location", "Against the champion", "Confidence and radius"):
        assert f"<h2>{title}</h2>" in page


def test_the_floor_map_shows_every_location_with_north_up(trained: TrainingResult) -> None:
    drawing = floor_map_svg(document_of(trained).cells)
    heights = {
        name: float(height)
        for name, height in re.findall(
            r"<title>(\w+):.*?</title><rect [^>]*? y=\"([\d.]+)\"", drawing
        )
    }

    assert set(heights) == set(CELLS)
    assert heights["A03"] < heights["A02"] < heights["A01"]
    assert heights["A01"] == heights["D01"]


def test_a_floor_map_without_positions_is_drawn_in_reading_order() -> None:
    cells = [LocationFigures(label=f"r{number}", rows=2, exact=0.5) for number in range(16)]

    drawing = floor_map_svg(cells, {"b1": (0.0, 0.0)})

    corners = re.findall(r'<title>r\d+:.*?x="([\d.]+)" y="([\d.]+)"', drawing)
    assert corners[0] == corners[15][:1] + corners[0][1:], "a row holds fifteen"
    assert float(corners[15][1]) > float(corners[0][1])
    assert "Share of wrong answers" in drawing
    assert "beacon" not in drawing.split("</style>")[1], "nobody knows where it would be"

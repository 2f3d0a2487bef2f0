"""What the benchmarks make of their samples: rows, targets, and the table in the document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import DOCUMENT, SUBJECTS, main
from benchmarks.measuring import Plan, Row, Target, Unit, take_turns
from benchmarks.report import BEGIN, END, render_markdown, render_text, write_block

if TYPE_CHECKING:
    from pathlib import Path

FLOOR = Row(subject="create", what="the floor, bare", short="floor", values=(0.1, 0.3, 0.2))


def test_a_row_tells_median_and_quartiles() -> None:
    row = Row(subject="create", what="ours", values=(5.0, 1.0, 4.0, 2.0, 3.0))
    assert row.median == 3.0
    assert row.quartiles == (2.0, 4.0)
    assert Row(subject="create", what="ours", values=(1.0,)).quartiles == (1.0, 1.0)


@pytest.mark.parametrize(
    "target, met",
    [
        (Target(at_most=0.3), True),
        (Target(at_most=0.2), False),
        (Target(at_most=1.5, of=FLOOR), True),
        (Target(at_most=1.4, of=FLOOR), False),
    ],
)
def test_a_target_is_of_the_median_or_of_the_ratio(target: Target, met: bool) -> None:
    assert Row(subject="create", what="ours", values=(0.29, 0.3, 9.0)).meets(target) is met


def test_contenders_take_turns_and_each_round_begins_with_another() -> None:
    order: list[str] = []

    def contender(name: str) -> dict[str, float]:
        order.append(name)
        return {"seconds": float(len(order))}

    taken = take_turns({"a": lambda: contender("a"), "b": lambda: contender("b")}, 2, pause=0)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert taken == {"a": {"seconds": (3.0, 6.0)}, "b": {"seconds": (4.0, 5.0)}}


def test_a_plan_is_one_round_when_quick_and_the_subjects_own_number_otherwise() -> None:
    assert Plan().choose_rounds(21) == 21
    assert Plan(quick=True).choose_rounds(21) == 1
    assert Plan(rounds=3, quick=True).choose_rounds(21) == 3


def test_the_table_says_ratios_targets_and_what_is_missed() -> None:
    ours = Row(
        subject="create",
        what="ours",
        values=(0.4, 0.4),
        beside=FLOOR,
        targets=(Target(at_most=0.5), Target(at_most=1.4, of=FLOOR)),
    )
    memory = Row(subject="idle", what="memory", values=(20.04,), unit=Unit.MEGABYTES)
    text = render_text([FLOOR, ours, memory])
    (line,) = (" ".join(line.split()) for line in text.splitlines() if line.startswith("ours"))
    assert line == "ours 2 0.400 s 0.400-0.400 2 x floor <= 0.5 s, <= 1.4 x floor yes, NO"
    assert "20.0 MB" in text
    assert all(line == line.rstrip() for line in text.splitlines())
    markdown = render_markdown(["today", "here"], [FLOOR, ours, memory])
    assert markdown.startswith("today; here.\n\n### Create\n\n| what | n |")
    assert "| ours | 2 | 0.400 s | 0.400-0.400 | 2 x floor |" in markdown


def test_the_table_goes_between_the_marks_of_the_document(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_block(document, "| new |\n")
        assert document.read_text(encoding="utf-8") == f"before\n\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"


def test_a_document_without_the_marks_is_left_as_it_is(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("nothing to fill\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no block between"):
        write_block(document, "| new |\n")
    assert document.read_text(encoding="utf-8") == "nothing to fill\n"


def test_the_document_names_every_subject_and_has_the_marks() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert [name for name in SUBJECTS if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--write", "--quick"], "whole tables only"),
        (["--write", "--only", "idle"], "whole tables only"),
        (["--rounds", "0"], "from 1 on"),
        (["--only", "luck"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert says in capsys.readouterr().err

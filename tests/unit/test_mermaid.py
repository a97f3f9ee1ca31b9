"""What became of a workflow's nodes, in markdown: nothing that people name a node breaks it."""

import base64
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.graph import layers
from prefect_jobs.projection.dag import parents_of, percent_done
from prefect_jobs.projection.mermaid import MOST_EDGES, MOST_NODES, flowchart, markdown, summary
from prefect_jobs.projection.svg import svg
from prefect_jobs.records import NodeRecord

SVG = "{http://www.w3.org/2000/svg}"


def node(name: str, *parents: str, status: str = "Complete", kind: str = "JOB", message: str = "") -> NodeRecord:
    return NodeRecord(name, spec={"kind": kind, "parents": list(parents)}, status=status, message=message, seq=1)


DIAMOND = [
    node("fetch"),
    node("left", "fetch", status="Error", message="exit code 1"),
    node("right", "fetch", status="Running"),
    node("merge", "left", "right", status="Pending"),
]


def image(text: str) -> ElementTree.Element:
    found = re.search(r"!\[[^\]]*\]\(data:image/svg\+xml;base64,([^)]*)\)", text)
    assert found
    return ElementTree.fromstring(base64.b64decode(found[1]))  # noqa: S314


def test_the_sentence_counts_nodes_by_status() -> None:
    assert summary(DIAMOND) == "4 nodes: 1 Pending, 1 Running, 1 Complete, 1 Error."
    assert summary([node("one")]) == "1 node: 1 Complete."
    assert summary([]) == "0 nodes."
    assert markdown([]) == "0 nodes.\n"


def test_the_flowchart_has_each_node_and_each_arrow() -> None:
    lines = [line.strip() for line in flowchart(DIAMOND).splitlines()]
    assert lines[:5] == [
        "flowchart TD",
        'n0["fetch"]:::complete',
        'n1["left"]:::error',
        'n2["right"]:::running',
        'n3["merge"]:::pending',
    ]
    assert set(lines[5:9]) == {"n0 --> n1", "n0 --> n2", "n1 --> n3", "n2 --> n3"}
    assert [line.split()[:2] for line in lines[9:]] == [
        ["classDef", name] for name in ("complete", "error", "running", "pending")
    ]


def test_names_that_mean_something_to_mermaid_are_escaped() -> None:
    text = flowchart([node('"]; end --> x["'), node("`a`#1 & <b>", status="Waiting for rain")])
    assert 'n0["#quot;]; end --#gt; x[#quot;"]:::complete' in text
    assert 'n1["#96;a#96;#35;1 #amp; #lt;b#gt;"]:::other' in text
    assert "```" not in flowchart([node("```")])


def test_a_final_node_comes_after_the_leaves() -> None:
    nodes = [*DIAMOND, node("alone"), node("helper", kind="SERVICE"), node("last", kind="FINAL")]
    parents = parents_of(nodes)
    assert parents["last"] == ["merge", "alone"]
    assert layers(parents)[-1] == ["last"]


def test_rows_go_by_the_longest_path_and_a_circle_does_no_harm() -> None:
    nodes = [node("c", "a", "b"), node("b", "a"), node("a"), node("x", "y"), node("y", "x", "nobody")]
    assert layers(parents_of(nodes)) == [["a", "x", "y"], ["b"], ["c"]]
    assert svg(nodes)


def test_the_image_has_a_box_for_each_node_and_a_line_for_each_arrow() -> None:
    drawn = image(markdown(DIAMOND))
    assert [text.text for text in drawn.iter(f"{SVG}text")] == ["fetch", "left", "right", "merge"]
    assert [title.text for title in drawn.iter(f"{SVG}title")][1] == "left: Error"
    group = drawn.findall(f"{SVG}g")[0]
    assert len(group.findall(f"{SVG}path")) == 4
    boxes = [box for box in drawn.iter(f"{SVG}rect")][1:]
    assert boxes[0].get("fill") != boxes[1].get("fill")
    assert len({box.get("y") for box in boxes}) == 3


def test_the_table_shows_texts_as_they_are() -> None:
    text = markdown([node("a|b", status="Held", message="no *space* on\n`/data` <disk> | [x](y) " + "z" * 300)])
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert row.startswith(r"| a\|b | Held | no \*space\* on \`/data\` \<disk\> \| \[x\](y) zzz")
    assert row.endswith("z … |") and row.count("z") < 200


def test_many_nodes_have_no_picture_but_what_went_wrong() -> None:
    nodes = [node(f"n{number}", status="Pending" if number % 2 else "Complete") for number in range(600)]
    nodes[598] = node("the bad one", status="Error", message="exit code 3")
    text = markdown(nodes)
    assert "mermaid" not in text and "svg" not in text
    assert "Of the 301 failed and unfinished ones, these are the first 200:" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == MOST_NODES and rows[0] == "| the bad one | Error | exit code 3 |"
    assert "All are complete." in markdown([node(f"n{number}") for number in range(201)])
    assert "These are the failed and unfinished ones:" in markdown([*(node(f"n{n}") for n in range(201)), nodes[598]])


def test_too_many_lines_are_not_drawn_but_all_nodes_are_listed() -> None:
    upper = [node(f"u{number}") for number in range(30)]
    lower = [node(f"l{number}", *(one.name for one in upper)) for number in range(30)]
    assert len(upper) * len(lower) > MOST_EDGES
    text = markdown([*upper, *lower])
    assert "900 lines between the nodes are too many" in text and "mermaid" not in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 62


@pytest.mark.parametrize(
    ("complete", "other", "percent"),
    [(0, 0, None), (0, 3, 0.0), (1, 2, 33.3), (3, 0, 100.0), (99_999, 1, 99.9)],
)
def test_percent_done(complete: int, other: int, percent: float | None) -> None:
    nodes = [node("n")] * complete + [node("n", status="Error")] * other
    assert percent_done([*nodes, node("helper", kind="SERVICE", status="Running")]) == percent


@given(st.lists(st.tuples(st.text(min_size=1), st.text(), st.lists(st.integers(0, 8))), max_size=8))
def test_any_texts_and_any_arrows_make_a_picture(drawn: list[tuple[str, str, list[int]]]) -> None:
    names = [f"{number}{name}" for number, (name, _, _) in enumerate(drawn)]
    nodes = [
        node(name, *(names[above] for above in parents if above < len(names)), status="Error", message=message)
        for name, (_, message, parents) in zip(names, drawn, strict=True)
    ]
    text = markdown(nodes)
    if nodes:
        assert len(list(image(text).iter(f"{SVG}text"))) == len(nodes)
        assert len(re.findall(r"^  n\d+\[", text, re.MULTILINE)) == len(nodes)
        # The fence of the Mermaid block is opened once and closed once.
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2

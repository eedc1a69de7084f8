"""The state of each node of a workflow: new, waiting, running, finished, failed or out of date."""

from __future__ import annotations

from typing import Any

import pytest

from .modules import call

# Nodes 1 to 3 each depend on the one before; `job` asks for what the graph says with these signatures.
_BEGIN = """
  const run = new module.RunState()
  const wanted = (signatures) => new Map(Object.entries(signatures)
    .map(([id, signature]) => [id, {signature, seed: 7, words: `make ${id}`}]))
  const job = (signatures, waiting = Object.keys(signatures)) => {
    const made = new module.Job(wanted(signatures), waiting)
    run.queue(made)
    return made
  }
  const now = (id, signature) => run.of(id, signature).kind
  const picture = name => ({filename: name, subfolder: "", type: "temp"})
"""


def told(code: str) -> Any:
    """What JavaScript returns that has a run state as `run`."""
    return call("run/state.js", _BEGIN + code)


def test_a_node_is_new_until_it_has_a_result_and_out_of_date_when_that_is_of_something_else() -> None:
    assert told(
        """
        const seen = [now("1", "a")]
        const first = job({1: "a"})
        seen.push(now("1", "a"))
        run.start(first)
        run.progress(first, {1: {state: "running", value: 1, max: 4}})
        seen.push(run.of("1", "a").part)
        run.show(first, "1", picture("first.png"), true)
        run.end(first, true)
        seen.push(now("1", "a"), now("1", "other"), now("1", "a"), run.of("1", "other").result)
        return seen
        """
    ) == [
        "new",
        "waiting",
        0.25,
        "finished",
        "outdated",
        "finished",
        {
            "signature": "a",
            "seed": 7,
            "words": "make 1",
            "image": {"filename": "first.png", "subfolder": "", "type": "temp"},
        },
    ]


def test_what_is_up_to_date_does_not_wait_for_a_run() -> None:
    code = """
      const first = job({1: "a", 2: "b"})
      run.finish(first, "1")
      run.finish(first, "2")
      run.end(first, true)
      job({1: "a", 2: "other"})
      return [now("1", "a"), now("2", "other")]
    """
    assert told(code) == ["finished", "waiting"]


@pytest.mark.parametrize("whole", ["false", "true"])
def test_what_was_stopped_runs_and_waits_no_more_and_what_is_finished_stays(whole: str) -> None:
    code = f"""
      const first = job({{1: "a", 2: "b", 3: "c"}})
      run.finish(first, "1")
      run.progress(first, {{2: {{state: "running", value: 1, max: 2}}}})
      const during = ["1", "2", "3"].map((id, i) => now(id, "abc"[i]))
      run.end(first, {whole})
      return [during, ["1", "2", "3"].map((id, i) => now(id, "abc"[i]))]
    """
    assert told(code) == [["finished", "running", "waiting"], ["finished", "new", "new"]]


def test_a_failure_stays_with_what_failed_until_it_is_queued_again() -> None:
    code = """
      const first = job({1: "a", 2: "b"})
      run.fail(first, "1", "it needs a picture")
      run.end(first, false)
      const seen = [run.of("1", "a").why, now("1", "a"), now("1", "mended"), now("1", "a")]
      job({1: "a"})
      seen.push(now("1", "a"))
      return seen
    """
    assert told(code) == ["it needs a picture", "failed", "new", "failed", "waiting"]


def test_two_jobs_wait_apart() -> None:
    code = """
      const [first, second] = [job({1: "a"}), job({1: "b"})]
      run.show(first, "1", picture("a.png"), true)
      run.end(first, true)
      const between = now("1", "b")
      run.show(second, "1", picture("b.png"), true)
      run.end(second, true)
      return [between, now("1", "b"), now("1", "a")]
    """
    assert told(code) == ["waiting", "finished", "outdated"]


def test_a_node_that_expands_is_finished_with_its_job_and_a_part_of_it_is_none() -> None:
    code = """
      const states = whole => {
        const first = job({9: "s"})
        run.progress(first, {
          9: {node_id: "9", state: "finished"},
          "9.0.0.1": {node_id: "9.0.0.1", display_node_id: "9", state: "finished", value: 20, max: 20},
          "9.0.0.2": {node_id: "9.0.0.2", display_node_id: "9", state: "running", value: 5, max: 20},
        })
        const during = run.of("9", "s")
        run.show(first, "9", picture("turn_1.png"), false)
        run.end(first, whole)
        return [during.kind, during.part, now("9", "s"), run.of("9", "s").result.image.filename]
      }
      return [states(false), states(true)]
    """
    assert told(code) == [
        ["running", 0.25, "outdated", "turn_1.png"],
        ["running", 0.25, "finished", "turn_1.png"],
    ]


def test_what_waits_or_runs_takes_one_more_run_where_it_was_changed_meanwhile() -> None:
    code = """
      const first = job({1: "a", 2: "b"})
      const again = (...signatures) => signatures.map((one, i) => run.of(String(i + 1), one).again)
      const seen = [again("a", "b"), again("a", "other")]
      run.progress(first, {1: {state: "running", value: 1, max: 2}})
      seen.push(again("a", "b"), again("other", "other"))
      job({1: "other", 2: "other"})
      seen.push(again("other", "other"))
      run.end(first, false)
      run.clear()
      for (const one of run.jobs) run.end(one, false)
      return [...seen, again("a", "b")]
    """
    assert told(code) == [
        [False, False],
        [False, True],
        [False, False],
        [True, True],
        [False, False],
        [True, True],
    ]


def test_in_a_subgraph_each_has_a_state_of_its_own_and_the_node_around_them_runs_too() -> None:
    code = """
      const first = job({"4:3": "a", "4:5": "b"})
      run.progress(first, {
        "4:3": {node_id: "4:3", state: "finished", value: 1, max: 1},
        "4:5": {node_id: "4:5", state: "running", value: 1, max: 4},
        8: {node_id: "8", state: "pending", value: 0, max: 1},
      })
      return [now("4", ""), now("4:3", "a"), now("4:5", "b"), now("8", "")]
    """
    assert told(code) == ["running", "finished", "running", "new"]


def test_a_new_node_has_nothing_of_the_one_whose_number_it_has() -> None:
    code = """
      const first = job({1: "a", 2: "b"})
      run.finish(first, "1")
      run.fail(first, "2", "no")
      run.end(first, false)
      run.forget("1")
      run.forget("2")
      return [now("1", "a"), now("2", "b")]
    """
    assert told(code) == ["new", "new"]


def test_results_of_nodes_that_are_gone_are_kept_for_an_undo_but_not_without_end() -> None:
    code = """
      const ids = Array.from({length: 400}, (_, i) => String(i))
      const first = job(Object.fromEntries(ids.map(id => [id, "a"])))
      for (const id of ids) run.finish(first, id)
      run.prune(new Set(["5"]))
      return [run.results.size, now("5", "a"), now("399", "a"), now("4", "a")]
    """
    assert told(code) == [101, "finished", "finished", "new"]

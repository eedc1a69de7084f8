// @ts-check
/** What is done with a turn in the chain panel, by its buttons and by keys. */

import { app } from "../../../../scripts/app.js";
import { asOneStep, selected } from "../lib/graph.js";
import { showGraphOf } from "../lib/in_view.js";
import { t } from "../lib/translate.js";
import { settingOf } from "../lib/wires.js";
import { ACTIONS, makesTurn, runOn } from "./actions.js";
import { compare, ownOf } from "./comparing.js";
import { writeInPlace } from "./field.js";
import { take } from "./more.js";
import { noteOf, setNote } from "./note.js";
import { isEditable } from "./read_graph.js";
import { keepWritten, suggest } from "./recent.js";
import { runUpTo } from "./run_to.js";
import { toggleStar } from "./stars.js";

/** @typedef {import("./panel.js").Panel} Panel */
/** @typedef {import("./read_graph.js").Turn} Turn */
/** @typedef {import("./strip.js").Choice} Choice */

/**
 * Do an action with a turn.
 * @param {Panel} panel
 * @param {string} id of the turn
 * @param {string} name of an action, "edit", "note" or "run"
 */
export function act(panel, id, name) {
  const turn = panel.turns.get(id);
  if (!turn) return;
  const { node } = turn;
  if (name === "edit") return edit(panel, turn);
  if (name === "note") return editNote(panel, turn);
  if (name === "run") return runUpTo(turn, panel.turns);
  const action = ACTIONS.find((one) => one.id === name);
  if (!action) return;
  if (!makesTurn(action)) showGraphOf(turn.place); // the new one may lie in another
  const others = selected();
  const both = name === "Kontext.Compare" && others.includes(node) && others.length === 2;
  const done = runOn(action, both ? others : [node], turn.place);
  panel.writeNext = done && makesTurn(action);
  panel.focusNext = true;
  panel.redraw();
}

/**
 * Take one of the pictures that a turn has had, change its star, or compare it with the turn's picture.
 * @param {Panel} panel
 * @param {string} id of the turn
 * @param {Choice} choice
 * @param {"take" | "star" | "compare"} what
 */
export function choose(panel, id, choice, what) {
  const turn = panel.turns.get(id);
  if (!turn) return;
  const { candidate } = choice;
  if (what === "compare") return candidate ? compare(panel, ownOf(id), { id, candidate }) : undefined;
  panel.compared = null;
  if (what === "star") asOneStep(() => toggleStar(turn.node, choice));
  else take(turn.place, choice);
  panel.choose(id);
  panel.redraw();
}

/**
 * Let the instruction of a turn be written in its row.
 * @param {Panel} panel
 * @param {Turn} turn
 */
function edit(panel, turn) {
  const { id, node, place } = turn;
  if (!isEditable(node)) return;
  const widget = settingOf(place, "instruction");
  if (!widget) {
    const detail = t("The instruction comes from another node: change it there.");
    app.extensionManager.toast.add({
      severity: "info",
      summary: t("Edit the instruction"),
      detail,
      life: 4000,
    });
    return;
  }
  const row = panel.rows.get(id);
  if (!row?.words.isConnected) return; // it is written already
  writeInPlace(row.words, {
    text: String(widget.value ?? ""),
    label: t("Instruction"),
    suggest: (words) => suggest(words, node),
    advised: node,
    done(written, next) {
      if (written !== null && written !== widget.value) {
        asOneStep(() => {
          widget.value = written;
          widget.callback?.(written);
        });
        keepWritten(written);
      }
      panel.focusNext = next !== "left";
      if (next === "undo") app.extensionManager.command.execute("Comfy.Undo");
      if (next === "run") runUpTo(turn, panel.turns);
      panel.redraw();
    },
  });
  row.element.scrollIntoView({ block: "nearest" }); // it is higher now
}

/**
 * Let the note of a turn be written in its row.
 * @param {Panel} panel
 * @param {Turn} turn
 */
function editNote(panel, { id, node }) {
  const row = panel.rows.get(id);
  if (!row?.note.isConnected) return;
  writeInPlace(row.note, {
    text: noteOf(node),
    label: t("Note of this turn"),
    done(written, next) {
      const note = written?.trim();
      if (note !== undefined && note !== noteOf(node)) asOneStep(() => setNote(node, note));
      panel.focusNext = next !== "left";
      if (next === "undo") app.extensionManager.command.execute("Comfy.Undo");
      panel.redraw();
    },
  });
  row.element.scrollIntoView({ block: "nearest" });
}

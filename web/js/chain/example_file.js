// @ts-check
/**
 * ComfyUI looks for a picture of any chosen file in its input folder; the example that comes along is not
 * there.
 */

import { app } from "../../../../scripts/app.js";
import { widgetOf } from "../lib/graph.js";
import { resultsKey, resultsOf, setResults } from "../lib/results.js";

const FILE = /\.\w+( \[\w+\])?$/;

/**
 * Take away the picture that could not be found, until the node has run.
 * @param {Page.Node} node
 */
function forgetPicture(node) {
  const chosen = widgetOf(node, "file");
  if (!chosen || FILE.test(String(chosen.value))) return;
  const shown = /** @type {{ images?: { filename?: string }[] } | undefined} */ (resultsOf(node));
  if (!shown?.images?.some((one) => one.filename === chosen.value)) return;
  setResults(resultsKey(node));
  node.imgs = undefined;
}

app.registerExtension({
  name: "Kontext.ChainFile",
  /**
   * Watch which file a new node lets choose.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (node.comfyClass !== "KontextLoadChain") return;
    const chosen = widgetOf(node, "file");
    // the page asks for the picture in the next frame, and at each choice
    const later = () => requestAnimationFrame(() => requestAnimationFrame(() => forgetPicture(node)));
    const callback = chosen?.callback;
    if (chosen)
      chosen.callback = function (...given) {
        callback?.apply(this, given);
        later();
      };
    later();
  },
});

// @ts-check
/** ComfyUI looks for a picture of any chosen file in its input folder; the example that comes along is not there. */

import { app } from "../../../../scripts/app.js";
import { resultsKey } from "../lib/node_picture.js";

const FILE = /\.\w+( \[\w+\])?$/;

/** Takes away the picture that could not be found, until the node has run. @param {Page.Node} node */
function forgetPicture(node) {
  const chosen = node.widgets?.find((one) => one.name === "file");
  if (!chosen || FILE.test(String(chosen.value))) return;
  const key = resultsKey(node);
  const shown = /** @type {{ images?: { filename?: string }[] } | undefined} */ (app.nodeOutputs?.[key]);
  if (!shown?.images?.some((one) => one.filename === chosen.value)) return;
  const { [key]: _, ...others } = app.nodeOutputs;
  app.nodeOutputs = others;
  node.imgs = undefined;
}

app.registerExtension({
  name: "Kontext.ChainFile",
  /** @param {Page.Node} node */
  nodeCreated(node) {
    if (node.comfyClass !== "KontextLoadChain") return;
    const chosen = node.widgets?.find((one) => one.name === "file");
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

// @ts-check
/** Widgets that are in a node and not seen, however the page draws nodes. */

const GAP = 4; // between two widgets

/**
 * Hide a widget or show it again. Its value is saved and sent either way.
 * @param {Page.Widget} widget
 * @param {boolean} hidden
 */
export function setHidden(widget, hidden) {
  widget.hidden = hidden; // on the canvas
  widget.options.hidden = hidden; // in a Vue node
  if (hidden)
    widget.computeSize = () => [0, -GAP]; // older pages leave room for it
  else Reflect.deleteProperty(widget, "computeSize");
}

// @ts-check
/** Widgets that are in a node and not seen, however the page draws nodes. */

const GAP = 4; // between two widgets

/**
 * Hide a widget or show it again. Its value is saved and sent either way.
 * @param {Page.Widget} widget
 * @param {boolean} hidden
 * @param {boolean} [hiddenInVue]
 */
export function setHidden(widget, hidden, hiddenInVue = hidden) {
  widget.hidden = hidden; // on the canvas
  widget.options.hidden = hiddenInVue;
  if (hidden)
    widget.computeSize = () => [0, -GAP]; // older pages leave room for it
  else Reflect.deleteProperty(widget, "computeSize");
}

/**
 * Tell whether a widget was hidden. Newer pages call one hidden, too, that has a wire in place of its value.
 * @param {Page.Widget} widget
 */
export const isHidden = (widget) => widget.options.hidden === true;

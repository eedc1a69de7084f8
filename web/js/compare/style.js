// @ts-check
/** How compared pictures look. */

import { addStyleSheet } from "../lib/style_sheet.js";

/** Have the page know the style, once. */
export const addStyle = () => addStyleSheet("compare");

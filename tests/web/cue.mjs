// What web/js/marks/*.js export, in one, for tests/web/test_cue_modules.py.
export * from "../../web/js/marks/coverage.js";
export * from "../../web/js/marks/font.js";
export * from "../../web/js/marks/format.js";
export * from "../../web/js/marks/history.js";
export * from "../../web/js/marks/geometry.js";
export * from "../../web/js/marks/view.js";
export * from "../../web/js/marks/outline.js";

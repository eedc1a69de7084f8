// What web/js/cue_*.js export, in one, for tests/web/test_cue_modules.py.
export * from "../../web/js/cue_cover.js";
export * from "../../web/js/cue_font.js";
export * from "../../web/js/cue_format.js";
export * from "../../web/js/cue_history.js";
export * from "../../web/js/cue_shape.js";
export * from "../../web/js/cue_view.js";

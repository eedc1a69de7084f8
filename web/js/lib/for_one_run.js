// @ts-check
/** The input of a turn that the chain panel fills in for one run: nothing that a person sets, or a copy keeps. */
export const FOR_ONE_RUN = "candidates";

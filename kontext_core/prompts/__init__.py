"""Words for the model: templates of instructions, and a lint that says what may go wrong with some."""

//! From the text of a pipeline file to a plan that leaves nothing to decide

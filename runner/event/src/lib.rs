//! What happened in a run, as data; and the sink that takes it

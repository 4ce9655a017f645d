//! Files of the workspace, by path, for reading or writing

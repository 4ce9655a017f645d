//! Events to output, one file per audience

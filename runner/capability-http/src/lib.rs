//! HTTP requests to granted places

//! Formats.
#![forbid(unsafe_code)]

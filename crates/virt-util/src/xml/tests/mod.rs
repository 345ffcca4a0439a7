//! Tests of the module, by subject.
mod derive;
mod documents;
mod properties;
mod raw;

//! Tests of the module, by subject.
mod corpus;
mod derive;
mod documents;
mod properties;
mod rare;
mod raw;
